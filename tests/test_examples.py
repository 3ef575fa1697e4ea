"""The examples in docstrings, in the README and on the pages of docs/ run."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

import pyro_helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from tests.small_data import first_rows
from tests.test_package import modules

ROOT = Path(__file__).parent.parent
EXAMPLE = re.compile(r"<!-- example: (?P<name>.*?) -->\n```python\n(?P<code>.*?)```", re.DOTALL)


def examples() -> list[object]:
    return [
        pytest.param(match["code"], id=f"{path.name}: {match['name']}")
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
        for match in EXAMPLE.finditer(path.read_text())
    ]


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
    monkeypatch.setattr(pyro_helm, "load_data", lambda name: first_rows(loaded(name)))
    exec(compile(code.replace("num_samples=1000", "num_samples=10"), "example", "exec"), {"__name__": "example"})


def test_there_are_eight_examples_or_more() -> None:
    assert len(examples()) >= 8


def test_docs_have_no_gaps_and_no_dead_links() -> None:
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")):
        text = page.read_text()
        assert not re.findall(r"\b(?:[A-Z]+_[A-Z_]+|TODO|TBD)\b", re.sub(r"`[^`]*`", "", text)), page
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
