"""Studies as TOML files, which say what :class:`pyro_helm.Study` takes."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from pyro_helm.experiments.own_names import make_importable, named
from pyro_helm.experiments.study import Study
from pyro_helm.runtime.suggestions import unknown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FUNCTIONS = ("training", "measure")


def study_from_file(path: str | Path, folder: str | Path | None = None) -> Study:
    """The study that a TOML file describes; its keys are the arguments of :class:`pyro_helm.Study`.

    Functions of the user's own are written ``module:name``, and found in the file's folder too.

    Args:
        path: of the file.
        folder: for runs and tables; None for one beside the file, named as it is without its suffix.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is no TOML, or has a key that a study does not know.

    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no study file {path}")
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of TOML, or of the encoding
        raise ValueError(f"{path} can't be read as TOML: {error}") from error
    make_importable(path.parent)
    return _study(said, path, folder or path.with_suffix(""))


def _study(said: dict[str, Any], path: Path, folder: str | Path) -> Study:
    parameters = inspect.signature(Study).parameters
    known = [name for name in parameters if name != "folder"]
    for key in said:
        if key not in known:
            raise ValueError(f"{path}: {unknown('key', key, known)}")
    for key in ("datasets", "schemes"):
        if key not in said:
            raise ValueError(f"{path} has no {key}, expected a list of one or more")
    functions = {key: named(said[key], key) for key in _FUNCTIONS if key in said}
    try:
        return Study(folder, **{**said, **functions})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
