"""Every block of code on a page runs, small; or the list below names the test that runs it, or says why none can."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import pytest
from typer.testing import CliRunner

import pyro_helm as helm
from pyro_helm.cli.app import app
from pyro_helm.experiments import data_sets
from tests.cli.test_help import examples as commands
from tests.small_data import first_rows

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
FENCE = re.compile(r"(<!-- example: .*? -->\n)?^```(.*?)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

ELSEWHERE = {
    ("README.md", "python3 -m venv env"): "downloads packages; .ci/run makes such an environment",
    ("README.md", "pyro-helm data"): "tests/cli/test_help.py",
    ("CONTRIBUTING.md", "make test"): "these tests are the first of it, and .ci/run runs the three",
    ("architecture.md", " digits.npz"): "a drawing",
    ("command_line.md", "pyro-helm fit DATA"): "tests/cli/test_help.py, names and options alone",
    ("command_line.md", "pyro-helm fit digits"): "tests/cli/test_own_parts.py",
    ("command_line.md", "pyro-helm fit bars"): "tests/cli/test_own_parts.py",
    ("command_line.md", "helm.compare("): "tests/experiments/test_study_page.py",
    ("command_line.md", "machines = "): "tests/experiments/test_study_page.py",
    ("missing_values.md", "PYRO_HELM_DATA=FOLDER python"): "needs data that are not here",
    ("published.md", "PYRO_HELM_DATA=FOLDER pyro-helm"): "takes days and data that are not here; small, on bars, "
    "tests/analysis/test_published.py",
    ("own_scheme.md", "guide:  d/dphi"): "an equation",
    ("studies.md", ""): "tests/experiments/test_study_page.py",
    ("study.md", "question = "): "tests/experiments/test_study_page.py",
    ("study.md", "pyro-helm study"): "tests/experiments/test_study_page.py",
    ("report.md", "pyro-helm report"): "tests/experiments/test_study_page.py",
}
"""By page and beginning of the block."""

# --- that none is left out ------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """A block of code: its page, whether it is marked as an example, its language, its text."""

    page: Path
    is_example: bool
    kind: str
    code: str


def blocks() -> Iterator[Block]:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))):
        if page.parent != DOCS / "api":  # written at each build
            for mark, kind, code in FENCE.findall(page.read_text()):
                yield Block(page, bool(mark), kind, code)


def is_run(block: Block) -> bool:
    """By a test that takes all blocks of its kind, or its page."""
    if block.kind == "python" and block.is_example:
        return block.page.parent in (ROOT, DOCS)  # tests/test_examples.py
    if block.page.parent.name == "schemes" or block.page.name == "gallery.md":
        return True  # written from docstrings and entries whose examples tests/test_docs.py runs
    return block.kind.startswith("{") or block.page.name in PAGES


def test_every_block_of_every_page_is_run_or_says_why_not() -> None:
    left, used = [], set()
    for block in blocks():
        name, code = block.page.name, block.code
        keys = {(page, start) for page, start in ELSEWHERE if page == name and code.startswith(start)}
        used |= keys
        if not keys and not is_run(block):
            left.append(f"{name}: {code.splitlines()[0]}")
    assert left == []
    assert set(ELSEWHERE) - used == set()


# --- commands -------------------------------------------------------------------------------------------------------

RUNNER = CliRunner()
FIT = ["--epochs", "1", "--restarts", "2", "--particles", "2"]
QUICK = {"fit": FIT, "loglik": ["--samples", "5", "--chains", "2", "--steps", "3"]}
PAGES: dict[str, list[str]] = {
    "data.md": [],
    "stages.md": [],
    "first_machine.md": [],
    "likelihoods.md": ["pyro-helm fit digits --sizes 4 --out runs/a", "pyro-helm fit digits --sizes 4 --out runs/b"],
}
"""By page, what its commands need to be there."""


@pytest.fixture
def _few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named data sets have their first rows alone, and files are written into an empty folder."""
    monkeypatch.chdir(tmp_path)
    loaded = helm.load_data
    for module in (helm, data_sets):
        monkeypatch.setattr(module, "load_data", lambda name: first_rows(loaded(name)))


@pytest.mark.usefixtures("_few_rows")
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_as_printed(page: str) -> None:
    """On the first data and for one epoch, after the Python before them that writes their file."""
    (path,) = DOCS.rglob(page)
    codes = [code for mark, _, code in FENCE.findall(path.read_text()) if not mark and "pyro-helm" in code]
    assert codes
    if page == "data.md":
        (written,) = (code for mark, _, code in FENCE.findall(path.read_text()) if "survey.csv" in code and mark)
        exec(written, {})
    for words in commands("\n".join([*PAGES[page], *codes])):
        shown = RUNNER.invoke(app, [*words, *QUICK.get(words[0], [])])
        assert shown.exit_code == 0, f"{words}: {shown.output}"


# --- tutorials: `make docs` runs them as they are, and here they are made small ---------------------------------------

SMALLER = {
    r"num_epochs=\d+": "num_epochs=1",
    r"\bnum_samples(=|\": )\d+": r"num_samples\g<1>5",
    r"schedule=\d+": "schedule=3",
    r"range\(50\)": "range(2)",
    r"range\(101\)": "range(11)",
    r"number = 2000": "number = 20",
    r"\(10, 100, 1000, 5000\)": "(5, 10)",
    r'"100 steps"': '"2 steps"',
    r"\[0\.01, 0\.1, 1\.0\]": "[0.01, 0.1]",
}
CELL = re.compile(r"```\{code-cell\} python\n(.*?)```", re.DOTALL)


@pytest.mark.usefixtures("_few_rows")
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the first data, for an epoch or two steps and with a few samples."""
    from matplotlib import pyplot

    monkeypatch.setattr(pyplot, "show", lambda: None)
    code = "\n".join(CELL.findall(page.read_text()))
    for old, new in SMALLER.items():
        code = re.sub(old, new, code)
    Path("tutorial.py").write_text(code)
    with mpl.rc_context({"backend": "Agg"}):
        runpy.run_path("tutorial.py", run_name="tutorial")
    pyplot.close("all")
