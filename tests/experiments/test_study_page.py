"""What docs/studies.md and docs/command_line.md print of studies is what they take."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

import pyro_helm as helm
from pyro_helm.experiments.study_files import study_from_file

DOCS = Path(__file__).parents[2] / "docs"
STUDIES = (DOCS / "studies.md").read_text()
TOML, PYTHON = (re.findall(rf"```{kind}\n(.*?)```", STUDIES, re.DOTALL) for kind in ("toml", "python"))
MINE, STUDY, CLUSTER = PYTHON
COMMAND_LINE = (DOCS / "command_line.md").read_text()


@pytest.fixture(autouse=True)
def _files_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, whose modules are importable for this test alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("pyro_helm.experiments.own_names._folders", [])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    yield
    sys.modules.pop("mine", None)


def test_the_study_file_is_one_and_trains_what_it_says() -> None:
    (text,) = TOML
    Path("schemes.toml").write_text(text)
    runs = study_from_file("schemes.toml").plan
    # a machine of the shifter and two of digits; four schemes, three learning rates, two seeds
    assert len(runs) == 3 * 4 * 3 * 2
    assert {run.labels["dataset"] for run in runs} == {"shifter", "digits"}


def test_the_function_of_a_machine_makes_one() -> None:
    Path("mine.py").write_text(MINE)
    machines = 'datasets = ["bars"]\nschemes = ["vimco"]\nmachines = ["mine:deep"]\nrestarts = 2\n'
    Path("own.toml").write_text(machines)
    (planned,) = study_from_file("own.toml").plan
    model, guide = planned.build(16, seed=0, restarts=2)
    assert isinstance(guide, helm.FactorialRecognition)
    assert model.sizes == guide.sizes == (16, 50, 20, 10)


def test_the_study_in_python_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made as printed; what is trained of it is the tutorial's to show."""
    made = []
    empty = pd.DataFrame(columns=["scheme", "against", "difference", "low", "high"])

    def called(name: str) -> Callable[[helm.Study], pd.DataFrame]:
        def call(study: helm.Study) -> pd.DataFrame:
            made.append((name, len(study.plan)))
            return empty

        return call

    for name in ("run", "differences"):
        monkeypatch.setattr(helm.Study, name, called(name))
    exec(compile(STUDY, "example", "exec"), {"__name__": "__main__"})
    assert made == [("run", 9), ("differences", 9)]


def test_the_script_for_a_cluster_asks_for_a_study_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster's package is not a dependency, so that the call alone is made."""
    calls = [node for node in ast.walk(ast.parse(CLUSTER)) if isinstance(node, ast.Call)]
    (call,) = [node for node in calls if ast.unparse(node.func) == "helm.Study"]
    folder, arguments = call.args[0], {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    assert ast.literal_eval(folder) == "/shared/schemes"
    assert len(helm.Study("schemes", **arguments).plan) == 2


def test_machines_and_schemes_of_the_page_on_the_command_line_make_a_study() -> None:
    (mine,) = re.findall(r"```python\n# mine.py\n(.*?)```", COMMAND_LINE, re.DOTALL)
    (lines,) = re.findall(r"```toml\n(.*?)```", COMMAND_LINE, re.DOTALL)
    Path("mine.py").write_text(mine)
    Path("own.toml").write_text(f'datasets = ["bars"]\nrestarts = 1\n{lines}')
    assert [run.labels["scheme"] for run in study_from_file("own.toml").plan] == ["wake_sleep", "few_phases"]


def test_the_comparison_of_the_page_on_the_command_line_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # as where a script is
    (mine,) = re.findall(r"```python\n# mine.py\n(.*?)```", COMMAND_LINE, re.DOTALL)
    (code,) = re.findall(r"```python\n(helm\.compare.*?)```", COMMAND_LINE, re.DOTALL)
    Path("mine.py").write_text(mine)
    bars = helm.load_data("bars")
    parts = {part: getattr(bars, part)[:60] for part in ("train", "valid", "test")}
    small = helm.Data("bars", **parts, image_shape=(4, 4), distribution=bars.distribution)
    code = code.replace("sizes=(16, 8)", "sizes=(16, 8), num_epochs=1, num_samples=5, restarts=1, progress=False")
    comparison = eval(code, {"helm": helm, "data": small})
    assert set(comparison.summary.scheme) == {"vimco", "few_phases"}
