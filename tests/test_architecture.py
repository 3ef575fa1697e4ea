"""The order of packages: each imports only those below it, and docs/architecture.md says so truly."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pyro_helm"
MOST_LINES, MOST_LINES_OF_CODE = 300, 40  # of a file, and of a function without signature and docstring
PAGE = (ROOT / "docs" / "architecture.md").read_text()
BOTTOM_UP = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)[::-1]


def files_of(package: str) -> list[Path]:
    return sorted((PACKAGE / package).rglob("*.py"))


def imported_packages(path: Path) -> Iterator[str]:
    """Packages of the library that a file imports from, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1] for name in names if name.startswith("pyro_helm."))


def lines_of_code(function: ast.FunctionDef, lines: list[str]) -> int:
    """Of a function's body, neither empty nor comments alone, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    inside = lines[body[0].lineno - 1 : function.end_lineno] if body else []
    return sum(not line.strip().startswith("#") for line in inside if line.strip())


def test_the_page_names_every_package_once() -> None:
    packages = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    assert sorted(BOTTOM_UP) == packages


@pytest.mark.parametrize("package", BOTTOM_UP)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    below = BOTTOM_UP[: BOTTOM_UP.index(package) + 1]
    upwards = {(path.name, name) for path in files_of(package) for name in imported_packages(path) if name not in below}
    assert not upwards


@pytest.mark.parametrize("package", BOTTOM_UP)
def test_a_package_says_in_a_sentence_what_lives_there(package: str) -> None:
    doc = ast.get_docstring(ast.parse((PACKAGE / package / "__init__.py").read_text()))
    assert doc is not None
    assert doc.split("\n")[0].endswith(".")


def test_nothing_but_packages_stands_at_the_top() -> None:
    assert {path.name for path in PACKAGE.glob("*.py*") if path.is_file()} <= {"__init__.py", "__init__.pyi"}
    assert len(BOTTOM_UP) <= 12


@pytest.mark.parametrize("package", BOTTOM_UP)
def test_no_function_or_class_bears_its_modules_name(package: str) -> None:
    for path in files_of(package):
        defined = {getattr(node, "name", None) for node in ast.parse(path.read_text()).body}
        assert path.stem not in defined, path


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:pyro_helm|tests|docs)/[\w/]+\.\w+)`", PAGE)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("package", BOTTOM_UP)
def test_no_file_and_no_function_is_longer_than_a_reader_can_hold(package: str) -> None:
    long = []
    for path in files_of(package):
        lines = path.read_text().splitlines()
        long += [f"{path.name}: {len(lines)} lines"] if len(lines) > MOST_LINES else []
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef) and (number := lines_of_code(node, lines)) > MOST_LINES_OF_CODE:
                long.append(f"{path.name}, {node.name}: {number} lines of code")
    assert long == []


def test_scikit_learn_waits_for_digits_matplotlib_for_figures_and_pyplot_for_nobody() -> None:
    """In one process for all, as each would first import torch."""
    code = (
        "import sys, pyro_helm; assert 'matplotlib' not in sys.modules\n"
        "import pyro_helm.data.sets as data; data.load_data('bars'); data.available_data()\n"
        "assert 'sklearn' not in sys.modules\n"
        "import pyro_helm.experiments.plots; assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYRO_HELM_DATA": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
