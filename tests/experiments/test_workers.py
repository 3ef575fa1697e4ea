"""Studies on workers of Dask: the numbers of one process, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dask.utils import key_split
from torch import Tensor

import pyro_helm as helm
from pyro_helm.experiments import workers
from pyro_helm.experiments.own_names import make_importable
from pyro_helm.experiments.progress_bar import StudyBar
from pyro_helm.experiments.workers import client_at, local_client
from tests.own_parts import FILE

BARS = {"data": "bars", "train": 60, "valid": 20, "test": 20}
SMALL: dict[str, Any] = {
    "datasets": [BARS],
    "machines": ["odds 4"],
    "schemes": ["wake_sleep", "nvil"],  # one that remembers
    "settings": {"learning_rate": [0.01, 0.1], "batch_size": 30},
    "budget": "4 steps",
    "restarts": 2,
    "scores": {"num_samples": 5},
}
LONG: dict[str, Any] = SMALL | {"settings": {"batch_size": 10}, "budget": "6 epochs", "save_every": 0.01}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_client(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> helm.Study:
    study = helm.Study(tmp_path_factory.mktemp("undisturbed"), **LONG)
    study.run(workers=1, progress=False)
    return study


def numbers(study: helm.Study) -> pd.DataFrame:
    order = ["run", "restart", "split", "metric"]
    return study.table().drop(columns="seconds").sort_values(order, ignore_index=True)


def test_workers_give_the_numbers_of_one_process(client: Any, tmp_path: Path) -> None:
    here, there = helm.Study(tmp_path / "here", **SMALL), helm.Study(tmp_path / "there", **SMALL)
    here.run(workers=1, progress=False)
    runs = there.run(client=client, progress=False)
    assert runs.state.tolist() == ["finished"] * 4
    pd.testing.assert_frame_equal(numbers(here), numbers(there), check_exact=True)


def test_workers_find_ones_own_model_guide_and_scheme(client: Any, tmp_path: Path) -> None:
    """In a folder that was made importable after the workers had started."""
    (tmp_path / "own_parts_of_workers.py").write_text(FILE)
    make_importable(tmp_path)
    asked = SMALL | {
        "machines": [{"machine": "4", "model": "own_parts_of_workers:Topics", "guide": "own_parts_of_workers:Reader"}],
        "schemes": ["own_parts_of_workers:Doubted num_particles=2"],
        "restarts": 1,
    }
    here, there = helm.Study(tmp_path / "here", **asked), helm.Study(tmp_path / "there", **asked)
    here.run(workers=1, progress=False)
    runs = there.run(client=client, progress=False)
    assert runs.why.tolist() == ["", ""]
    pd.testing.assert_frame_equal(numbers(here), numbers(there), check_exact=True)


def test_to_dask_all_runs_are_of_one_kind(tmp_path: Path) -> None:
    """So that it knows how long those take that wait, and a worker with nothing to do takes them over."""
    study = helm.Study(tmp_path, **SMALL)
    assert {key_split(workers._key(run)) for run in study.plan} == {"run"}


def test_a_killed_worker_costs_what_was_not_saved_and_no_number(
    client: Any, undisturbed: helm.Study, tmp_path: Path
) -> None:
    killed = helm.Study(tmp_path, **LONG)
    pids = list(client.run(os.getpid).values())[:1]

    def after_the_first_save(*doing: object) -> list[str]:
        if pids and any(tmp_path.glob("runs/*/state.pt")):
            os.kill(pids.pop(), signal.SIGKILL)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_at_work", after_the_first_save)
        runs = killed.run(client=client, progress=False)
    assert not pids
    assert runs.state.tolist() == ["finished"] * 2
    pd.testing.assert_frame_equal(numbers(undisturbed), numbers(killed), check_exact=True)


def test_ctrl_c_lets_the_run_under_way_save(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the next save was an hour away."""
    asked: dict[str, Any] = {"schemes": ["wake_sleep"], "budget": "100000 epochs", "save_every": 3600.0}
    asked["settings"] = {"batch_size": 10, "step": "eager"}
    study = helm.Study(tmp_path, **(LONG | asked))
    begun: list[float] = []

    def in_the_midst(*doing: object) -> list[str]:
        if any(tmp_path.glob("runs/*/state.pt")):  # saved once as it begins
            begun.append(time.monotonic())
        if begun and time.monotonic() - begun[0] > 2:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(workers, "_at_work", in_the_midst)
    study.run(client=client, progress=False)
    assert study.interrupted == signal.SIGINT
    assert study.history().epoch.max() > 1
    assert set(client.run(lambda: signal.getsignal(signal.SIGINT)).values()) == {signal.SIG_IGN}


def slowly(model: Any, guide: Any, data: Any, **settings: Any) -> Any:
    time.sleep(0.5)
    return helm.fit(model, guide, data, **settings)


def test_the_bar_names_the_runs_that_workers_are_at(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those that wait for a worker."""
    asked = SMALL | {"schemes": ["wake_sleep", "reinforce", "nvil", "vimco"], "settings": {}}
    study = helm.Study(tmp_path, **asked, training=slowly)
    digests = {str(run): run.digest for run in study.plan}
    shown: list[str] = []

    def show(bar: StudyBar, doing: list[str]) -> None:
        assert len(doing) <= 2
        time.sleep(0.1)  # a run says that it begins before it makes its folder
        assert all((tmp_path / "runs" / digests[run] / "run.json").is_file() for run in doing)
        shown.extend(doing)

    monkeypatch.setattr(StudyBar, "show", show)
    study.run(client=client, progress=False)
    assert shown


class Deadly(helm.WakeSleep):
    """Ends the process that trains with it, as the system does where memory is short."""

    name = "deadly"

    def restart_losses(self, *args: Any, **kwargs: Any) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Raising(helm.WakeSleep):
    """Raises what no run should."""

    name = "raising"

    def restart_losses(self, *args: Any, **kwargs: Any) -> Tensor:
        raise MemoryError("no room")


def test_a_run_that_fails_is_a_row_that_says_why_and_the_others_go_on(client: Any, tmp_path: Path) -> None:
    schemes = [Raising(), "wake_sleep", Deadly()]  # the deadly one last, so that it takes no other with it
    study = helm.Study(tmp_path, **(SMALL | {"schemes": schemes, "settings": {}}))
    client.cluster.scheduler.allowed_failures = 0
    with pytest.warns(RuntimeWarning, match="bars odds 4"):
        runs = study.run(client=client, progress=False).set_index("scheme")
    assert runs.state.to_dict() == {"deadly": "failed", "raising": "failed", "wake_sleep": "finished"}
    assert runs.why["raising"] == "MemoryError: no room"
    assert "its worker was killed" in runs.why["deadly"]


def test_no_worker_is_asked_what_came_of_a_run(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says it. One that has been killed since would be asked for a minute and a half."""

    def asked(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("distributed.Future.result", asked)
    monkeypatch.setattr("distributed.Client.gather", asked)
    study = helm.Study(tmp_path, **(SMALL | {"schemes": ["wake_sleep", Raising()], "settings": {}}))
    with pytest.warns(RuntimeWarning, match="no room"):
        runs = study.run(client=client, progress=False)
    assert runs.state.tolist() == ["finished", "failed"]


def test_a_scheduler_that_does_not_answer_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SECONDS_TO_ANSWER", 0.3)
    began = time.monotonic()
    with (
        pytest.raises(ConnectionError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"),
        client_at("tcp://127.0.0.1:9"),
    ):
        pass
    assert time.monotonic() - began < 20


def test_without_dask_several_workers_are_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"not installed; pip install 'pyro-helm\[study\]'"), local_client(2):
        pass


SCRIPT = """
import pyro_helm as helm
from tests.experiments.test_workers import LONG
helm.Study({folder!r}, **LONG).run(workers=1, progress=False)
"""


def test_a_study_that_is_killed_goes_on_to_the_same_table(client: Any, undisturbed: helm.Study, tmp_path: Path) -> None:
    script = SCRIPT.format(folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    while not any(tmp_path.glob("runs/*/state.pt")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    resumed = helm.Study(tmp_path, **LONG)
    before = resumed.runs().state.tolist()
    assert "waiting" in before or len(before) < 2
    assert resumed.run(client=client, progress=False).state.tolist() == ["finished"] * 2
    pd.testing.assert_frame_equal(numbers(undisturbed), numbers(resumed), check_exact=True)
