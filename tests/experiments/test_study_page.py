"""What docs/studies.md, its tutorial and docs/command_line.md print of studies runs, small."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import dask
import distributed
import pytest
from distributed.cli import dask_scheduler, dask_worker
from typer.testing import CliRunner

import pyro_helm as helm
from pyro_helm.cli.app import app
from pyro_helm.experiments.study_files import study_from_file
from tests.cli.test_help import examples as commands
from tests.small_data import first_rows

DOCS = Path(__file__).parents[2] / "docs"
STUDIES, COMMAND_LINE, REPORT, TUTORIAL = (
    (DOCS / page).read_text() for page in ("studies.md", "command_line.md", "report.md", "tutorials/study.md")
)
SMALLER = {
    r'    budget="20 epochs",\n': "    restarts=2,\n    scores={'num_samples': 5},\n",
    r'"(20 epochs|200 epochs|100 steps)"': '"2 steps"',
    r"seeds = \[0, 1\]": "seeds = [0]",
    r"restarts = [38]": "restarts = 2",
    r"\[0\.003, 0\.01, 0\.03\]": "[0.01]",
    r'^data = "(\w+)"': r'data = "\1"\ntrain = 60\nvalid = 20\ntest = 20',
    r'datasets = \["(\w+)"\]': r'datasets = [{ data = "\1", train = 60, valid = 20, test = 20 }]',
    r'datasets=\["(\w+)"\]': r'budget="2 steps", datasets=[{"data": "\1", "train": 60, "valid": 20, "test": 20}]',
    r"\[0\.01, 0\.1, 1\.0\]": "[0.01]",
    r"num_samples = 50": "num_samples = 5",
    r'\["sigmoid 32-16", "odds 32-16"\]': '["odds 4"]',
    r"study\.run\(\)": "study.run(workers=1, progress=False)",
}
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUNNER = CliRunner()


def found(kind: str, page: str) -> list[str]:
    """Blocks of a language."""
    return [code for language, code in FENCE.findall(page) if language == kind]


def smaller(text: str) -> str:
    for old, new in SMALLER.items():
        text = re.sub(old, new, text, flags=re.MULTILINE)
    return text


def run(words: list[str]) -> str:
    shown = RUNNER.invoke(app, words)
    assert shown.exit_code == 0, f"{words}: {shown.output}"
    return shown.output


MINE, STUDY, CLUSTER = found("python", STUDIES)
"""The blocks of Python: a machine of one's own, a study, one on a cluster."""


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
    (text,) = found("toml", STUDIES)
    Path("schemes.toml").write_text(text)
    runs = study_from_file("schemes.toml").plan
    # a machine of the shifter and two of digits; four schemes, three learning rates, two seeds
    assert len(runs) == 3 * 4 * 3 * 2
    assert {run.labels["dataset"] for run in runs} == {"shifter", "digits"}


def test_the_commands_of_the_page_and_of_that_on_reports_run(tmp_path: Path) -> None:
    """With one process; those for a cluster run below. What they leave is what the page lists."""
    (text,) = found("toml", STUDIES)
    Path("schemes.toml").write_text(f"{smaller(text)}\n[scores]\nnum_samples = 5\n")
    whole, _, part = commands(STUDIES)
    folder = tmp_path / "results" / "schemes"
    assert "reweighted_wake_sleep" in run([*part, "--workers", "1"])
    assert len(list(folder.glob("runs/*"))) == 2
    for words in commands(REPORT):
        run(words)
    assert (folder / "report.html").exists()
    assert Path("page.html").exists()
    run([*whole, "--workers", "1"])
    assert len(list(folder.glob("runs/*"))) == 2 * 4
    (listed,) = (block for block in found("", STUDIES) if block.startswith("STUDY/"))
    names = re.findall(r"\w+\.(?:json|csv)", listed)
    assert len(names) == 7
    assert [name for name in names if not list(folder.rglob(name))] == []


def test_the_function_of_a_machine_makes_one() -> None:
    Path("mine.py").write_text(MINE)
    machines = 'datasets = ["bars"]\nschemes = ["vimco"]\nmachines = ["mine:deep"]\nrestarts = 2\n'
    Path("own.toml").write_text(machines)
    (planned,) = study_from_file("own.toml").plan
    model, guide = planned.build(16, seed=0, restarts=2)
    assert isinstance(guide, helm.FactorialRecognition)
    assert model.sizes == guide.sizes == (16, 50, 20, 10)


def test_the_study_in_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(smaller(STUDY), "example", "exec"), {"__name__": "__main__"})
    assert len(helm.Study.open("results/schemes").runs()) == 3
    assert "against" in capsys.readouterr().out


def test_machines_and_schemes_of_the_page_on_the_command_line_make_a_study() -> None:
    (mine,) = re.findall(r"```python\n# mine.py\n(.*?)```", COMMAND_LINE, re.DOTALL)
    (lines,) = found("toml", COMMAND_LINE)
    Path("mine.py").write_text(mine)
    Path("own.toml").write_text(smaller(f'datasets = ["bars"]\nrestarts = 1\nbudget = "2 steps"\n{lines}'))
    run(["study", "own.toml", "--workers", "1"])
    assert set(helm.Study.open("own").runs().scheme) == {"wake_sleep", "few_phases"}


def test_the_comparison_of_the_page_on_the_command_line_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # as where a script is
    (mine,) = re.findall(r"```python\n# mine.py\n(.*?)```", COMMAND_LINE, re.DOTALL)
    (code,) = re.findall(r"```python\n(helm\.compare.*?)```", COMMAND_LINE, re.DOTALL)
    Path("mine.py").write_text(mine)
    code = code.replace("sizes=(16, 8)", "sizes=(16, 8), num_epochs=1, num_samples=5, restarts=1, progress=False")
    comparison = eval(code, {"helm": helm, "data": first_rows(helm.load_data("bars"))})
    assert set(comparison.summary.scheme) == {"vimco", "few_phases"}


# --- a cluster ------------------------------------------------------------------------------------------------------


@pytest.fixture
def scheduler() -> Iterator[str]:
    """A scheduler with a worker, both in this process."""
    settings: Any = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with distributed.LocalCluster(silence_logs="CRITICAL", **settings) as cluster:
        yield cluster.scheduler_address


def test_what_the_pages_say_of_a_cluster_runs(scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this computer. In the place of Slurm, whose jobs would be workers, stands the scheduler that is there."""

    class SLURMCluster(str):
        def __new__(
            cls, *, cores: int, processes: int, memory: str, walltime: str, job_extra_directives: list[str]
        ) -> SLURMCluster:
            return super().__new__(cls, scheduler)

        def scale(self, jobs: int) -> None:
            pass

    (schemes,), (digits,) = found("toml", STUDIES), found("toml", TUTORIAL)
    Path("schemes.toml").write_text(f"{smaller(schemes)}\n[scores]\nnum_samples = 5\n")
    Path("digits-study.toml").write_text(smaller(digits))
    here, there = commands(TUTORIAL)
    part = ["--only", "dataset=shifter", "--only", "scheme=wake_sleep"]
    for words in (there, [*here[:-1], "1"], [*commands(STUDIES)[1], *part]):
        run([word.replace("tcp://host:8786", scheduler).replace("/shared", str(tmp_path)) for word in words])
    assert len(helm.Study.open("digits-study").runs()) == 3
    assert len(helm.Study.open("schemes").runs()) == 1
    monkeypatch.setitem(sys.modules, "dask_jobqueue", ModuleType("dask_jobqueue"))
    monkeypatch.setattr(sys.modules["dask_jobqueue"], "SLURMCluster", SLURMCluster, raising=False)
    script = smaller(CLUSTER).replace("/shared", str(tmp_path)).replace("/schemes", "/slurm")
    exec(compile(script, "example", "exec"), {"__name__": "__main__"})
    distributed.default_client().close()
    assert helm.Study.open("slurm").runs().state.tolist() == ["finished"] * 2


def test_the_processes_of_a_cluster_are_started_by_words_that_dask_takes() -> None:
    """Words and settings alone: tests/experiments/test_workers.py has workers that are processes."""
    (block,) = (block for block in found("", STUDIES) if block.startswith("dask"))
    lines = [line.partition(" # ")[0].split() for line in block.splitlines()]
    for (_, command, *words), parser in zip(lines, (dask_scheduler.main, dask_worker.main), strict=False):
        assert parser.make_context(command, words).params
    (settings,) = found("yaml", STUDIES)
    Path("distributed.yaml").write_text(settings)
    (read,) = dask.config.collect_yaml(["distributed.yaml"])
    ((name, value),) = read["distributed"]["nanny"].items()
    assert set(value) <= set(dask.config.get(f"distributed.nanny.{name}")) | {"MALLOC_MMAP_THRESHOLD_"}
