"""What ``module:name`` stands for: a model, guide, scheme or function of the user's own."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from pyro_helm.training.manifest import described

_NAME = r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"
_folders: list[str] = []


def make_importable(folder: str | Path) -> None:
    """Let the modules in a folder be imported, here and by the workers of studies."""
    here = str(Path(folder).absolute())
    if here not in sys.path:
        sys.path.append(here)
    if here not in _folders:
        _folders.append(here)


def importable_folders() -> list[str]:
    """Folders that :func:`make_importable` was told of."""
    return list(_folders)


def is_own_name(value: object) -> bool:
    """Whether a value is text of the form ``module:name``."""
    return isinstance(value, str) and re.fullmatch(_NAME, value) is not None


def names_in(text: str) -> Iterator[str]:
    """Every ``module:name`` in a line of text.

    >>> list(names_in("mine:Model visible=other:Tails hidden=3"))
    ['mine:Model', 'other:Tails']
    """
    for word in re.split(r"[\s=,\[\]{}\"']+", text):
        if is_own_name(word):
            yield word


def code_of(text: str) -> dict[str, Any]:
    """Name and digest of the code of every ``module:name`` in a line of text."""
    return {name: described(named(name, "part")) for name in names_in(text)}


def named(text: str, what: str) -> Callable[..., Any]:
    """The function or class that ``module:name`` stands for.

    Args:
        text: for example ``my_models:deep_machine``.
        what: what it is for; begins the sentence of an error.

    Raises:
        ValueError: if there is no such module, if it can't be imported, or if it has no such function or class.

    >>> named("torch.optim:SGD", "optimizer")
    <class 'torch.optim.sgd.SGD'>
    """
    module, _, name = text.partition(":")
    if not is_own_name(text):
        raise ValueError(f"{what} {text!r} can't be found; expected module:name, such as my_file:MyClass")
    found: Any = _imported(module, f"{what} {text!r}")
    for part in name.split("."):
        if not hasattr(found, part):
            close = get_close_matches(part, [each for each in dir(found) if each[0] != "_"], n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{what} {text!r} can't be found: {_called(found)} has no {part!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{what} {text!r} is a {type(found).__name__}, expected a function or class")
    return found  # type: ignore[no-any-return]


def _imported(module: str, subject: str) -> ModuleType:
    importlib.invalidate_caches()  # the file may be newer than what Python knows of its folder
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{subject} can't be found: there is no module {error.name!r}, neither as {error.name}.py in the "
                "current folder nor installed"
            ) from error
        raise ValueError(f"{subject} can't be imported: its module needs {error.name!r}, which is missing") from error
    except Exception as error:  # whatever the user's file does
        raise ValueError(f"{subject} can't be imported: {type(error).__name__}: {error}") from error


def _called(found: Any) -> str:
    name = getattr(found, "__name__", repr(found))
    return f"module {name!r}" if isinstance(found, ModuleType) else repr(name)
