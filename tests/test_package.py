"""The package as it is installed, from a checkout or a wheel: what building and installing it can break."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyro_helm

ROOT = Path(__file__).parent.parent


def modules() -> Iterator[str]:
    for found in pkgutil.walk_packages(pyro_helm.__path__, "pyro_helm."):
        yield found.name


def test_every_package_is_listed_for_installation() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11 or newer
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {"pyro_helm", *(name for name in modules() if hasattr(importlib.import_module(name), "__path__"))}
    assert set(listed) == found


def test_every_file_that_is_no_module_is_listed_for_installation() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11 or newer
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["pyro_helm"]
    package = ROOT / "pyro_helm"
    files = [path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert {str(path.relative_to(package)) for path in files} == {*listed}
    installed = Path(pyro_helm.__path__[0])
    assert all((installed / name).is_file() for name in listed)


def test_models_and_guides_are_flat() -> None:
    for folder in ("models", "guides"):
        assert not [path for path in (ROOT / folder).iterdir() if path.is_dir() and path.name != "__pycache__"]


def test_public_names_are_there() -> None:
    assert len(pyro_helm.__all__) == len(set(pyro_helm.__all__)) > 30
    assert all(getattr(pyro_helm, name) is not None for name in pyro_helm.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        pyro_helm.nonsense  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("module", ["pyro_helm", "pyro_helm.cli.app"])
def test_importing_the_package_or_asking_for_help_does_not_wait_for_torch(module: str) -> None:
    code = f"import sys, {module}; print({{'torch', 'pandas', 'matplotlib'}} & sys.modules.keys())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"


def test_no_public_function_bears_its_modules_name() -> None:
    public = set(pyro_helm.__all__)
    assert not public & {name.removeprefix("pyro_helm.") for name in modules()}
