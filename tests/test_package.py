"""The package as it is installed, its public names and the examples in its docs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import pyro_helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

ROOT = Path(__file__).parent.parent
EXAMPLE = re.compile(r"<!-- example: (?P<name>.*?) -->\n```python\n(?P<code>.*?)```", re.DOTALL)


def modules() -> Iterator[str]:
    for found in pkgutil.walk_packages(pyro_helm.__path__, "pyro_helm."):
        yield found.name


def examples() -> list[object]:
    return [
        pytest.param(match["code"], id=f"{path.name}: {match['name']}")
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
        for match in EXAMPLE.finditer(path.read_text())
    ]


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


@pytest.mark.parametrize("name", sorted(modules()))
def test_examples_in_docstrings_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {item: getattr(pyro_helm, item) for item in pyro_helm.__all__}
    extra = {"torch": torch, "BeliefNetwork": BeliefNetwork, "FactorialRecognition": FactorialRecognition}
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs={**names, **extra, **vars(module)})
    assert failed == 0


@pytest.mark.parametrize("code", examples())
def test_examples_in_the_docs_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, but on the first data and for fewer steps."""
    monkeypatch.chdir(tmp_path)
    loaded = pyro_helm.load_data

    def first(name: str) -> pyro_helm.Data:
        data = loaded(name)
        return pyro_helm.Data(
            data.name, data.train[:300], data.valid[:50], data.test[:50], data.image_shape, data.distribution
        )

    monkeypatch.setattr(pyro_helm, "load_data", first)
    exec(compile(code.replace("num_samples=1000", "num_samples=10"), "example", "exec"), {"__name__": "example"})


def test_there_are_eight_examples_or_more() -> None:
    assert len(examples()) >= 8


def test_docs_have_no_gaps_and_no_dead_links() -> None:
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")):
        text = page.read_text()
        assert not re.findall(r"\b(?:[A-Z]+_[A-Z_]+|TODO|TBD)\b", re.sub(r"`[^`]*`", "", text)), page
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
