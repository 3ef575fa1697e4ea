"""Study: a table of runs in folders, trained once, chosen on validation data and read from disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock

import pyro_helm as helm
from pyro_helm.experiments import run_folders
from pyro_helm.experiments.scoring import final_scores
from pyro_helm.experiments.study_figures import sensitivity_pictures
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.shown import as_given

ROWS = {"train": 60, "valid": 20, "test": 20}
BARS = {"data": "bars", **ROWS}
SMALL: dict[str, Any] = {
    "datasets": [BARS],
    "machines": ["odds 4"],
    "schemes": ["wake_sleep", {"scheme": "vimco", "num_particles": [2, 3]}],
    "settings": {"learning_rate": [0.01, 0.1], "batch_size": 30},
    "budget": "4 steps",
    "restarts": 2,
    "scores": {"num_samples": 5},
}


def study(folder: Path, **changed: Any) -> helm.Study:
    return helm.Study(folder, **(SMALL | changed))


def run(asked: helm.Study) -> pd.DataFrame:
    return asked.run(workers=1, progress=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> helm.Study:
    asked = study(tmp_path_factory.mktemp("study") / "small")
    assert run(asked).state.tolist() == ["finished"] * 6  # 2 learning rates x (1 + 2 numbers of particles)
    return asked


def test_every_setting_that_differs_is_a_column_of_every_table(done: helm.Study) -> None:
    assert done.varied == ["learning_rate", "num_particles"]
    for table in (done.runs(), done.table(), done.history(), done.chosen()):
        assert {"dataset", "machine", "scheme", "budget", *done.varied} <= {*table.columns}


@pytest.mark.parametrize(("name", "values"), [("average", [None, 0.9]), ("batch_size", ["all", 30])])
def test_none_is_a_value_of_a_setting_like_any_other(tmp_path: Path, name: str, values: list[Any]) -> None:
    asked = study(tmp_path / "none", schemes=["wake_sleep"], settings={name: values}, budget="1 epochs")
    assert [each.settings[name] for each in asked.only(**{name: values[0]}).plan] == [None]
    run(asked)
    assert asked.varied == [name]
    (row,) = asked.chosen().to_dict("records")
    assert (row["restarts"], row["settings_tried"]) == (2, 2)  # not four restarts of one setting
    assert set(asked.table()[name].map(as_given)) == {"none", str(values[1])}
    assert len(sensitivity_pictures(asked, asked.table())) == 1


def test_a_damaged_table_and_a_file_are_answered_by_a_sentence(done: helm.Study, tmp_path: Path) -> None:
    shutil.copytree(done.folder, tmp_path / "damaged")
    scores = sorted(tmp_path.rglob("scores.parquet"))[0]
    scores.write_bytes(scores.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"scores\.parquet is damaged or missing; remove its folder"):
        helm.Study.open(tmp_path / "damaged").table()
    with pytest.raises(NotADirectoryError, match=r"a study is a folder, but .*study\.json is a file"):
        helm.report(done.folder / "study.json")


def test_machines_without_a_guide_are_studied_and_reported(tmp_path: Path) -> None:
    asked = study(
        tmp_path / "alone",
        machines=[{"machine": "sigmoid 3", "guide": "none"}],
        schemes=["exact_em", "gibbs"],
        settings={"batch_size": 30},
    )
    assert run(asked).state.tolist() == ["finished", "finished"]
    assert set(asked.table().metric) == {"log_likelihood", "failed"}
    model, guide = asked.machine(asked.runs().run[0])
    assert guide is None
    data = asked.data(asked.runs().run[0])
    exact = helm.log_likelihood(model, None, data.valid, method="exact").summary.log_likelihood
    ours = asked.table().query("split == 'valid' and metric == 'log_likelihood'").value[:2]
    assert ours.tolist() == pytest.approx(exact.tolist())
    assert "Not drawn" in helm.report(asked.folder).read_text()
    how: dict[str, Any] = {"splits": ["test"], "failed": [False] * 2, "seed": 0, "num_chains": 4, "schedule": 20}
    annealed = final_scores(model, None, data, max_terms=1, **how)
    assert np.isfinite(annealed.query("metric == 'log_likelihood'").value).all()  # by annealing from the prior


def test_the_table_has_every_restart_of_every_run_on_both_splits(done: helm.Study) -> None:
    table = done.table()
    assert len(table) == 6 * 2 * 2 * 3  # runs x restarts x splits x metrics
    assert set(table.steps) == {4}
    entropy = helm.load_data("bars").distribution.entropy  # type: ignore[union-attr]
    assert (table.query("split == 'test' and metric == 'log_likelihood'").value < -entropy).all()


def test_restarts_of_several_seeds_are_pooled_and_paired(tmp_path: Path) -> None:
    """Many machines of one setting, divided into runs of a few restarts."""
    asked = study(tmp_path, schemes=["wake_sleep", "reinforce"], settings={}, seeds=[0, 1, 2])
    assert len(run(asked)) == 2 * 3
    of_test = asked.table().query("split == 'test' and metric == 'log_likelihood'")
    values = of_test.pivot(index=["seed", "restart"], columns="scheme", values="value")
    assert len(values) == 3 * SMALL["restarts"] == values.nunique().min()  # no machine is another's twin
    chosen = asked.chosen().set_index("scheme")
    assert chosen.restarts.unique().tolist() == [len(values)]
    assert chosen.settings_tried.unique().tolist() == [1]
    assert chosen.log_likelihood.to_dict() == pytest.approx(values.median().to_dict())
    (row,) = asked.differences("wake_sleep").to_dict("records")
    assert (row["scheme"], row["pairs"]) == ("reinforce", len(values))
    assert row["difference"] == pytest.approx((values.reinforce - values.wake_sleep).mean())


def test_a_folder_is_opened_without_what_made_it(done: helm.Study) -> None:
    opened = helm.Study.open(done.folder)
    order = ["run", "restart", "split", "metric", "epoch"]
    for ours, theirs in ((opened.table(), done.table()), (opened.history(), done.history())):
        ours, theirs = (each.sort_values(order, ignore_index=True) for each in (ours, theirs))
        pd.testing.assert_frame_equal(ours, theirs)
    assert len(pd.read_csv(done.folder / "table.csv")) == len(done.table())


def test_the_table_is_that_of_the_machines_on_disk(done: helm.Study) -> None:
    digest = done.table().run.iloc[0]
    model, guide = helm.Study.open(done.folder).machine(digest)
    data = done.data(digest)
    assert len(data.train) == 60
    assert data.distribution is not None
    again = helm.log_likelihood(
        model, guide, data.distribution.patterns, weights=data.distribution.probabilities, num_samples=5
    )
    ours = done.table().query(f"run == '{digest}' and split == 'test' and metric == 'log_likelihood'").value
    assert again.summary.log_likelihood.tolist() == pytest.approx(ours.tolist())


def test_the_best_setting_on_validation_data_is_reported_on_test_data(done: helm.Study) -> None:
    table = done.table().query("metric == 'log_likelihood'")
    for row in done.chosen().itertuples():
        of_scheme = table[table.scheme == row.scheme]
        medians = of_scheme[of_scheme.split == "valid"].groupby("run").value.median()
        assert row.runs == medians.idxmax()
        on_test = of_scheme[(of_scheme.split == "test") & (of_scheme.run == row.runs)].value
        assert row.log_likelihood == pytest.approx(on_test.median())
    assert done.chosen().settings_tried.sum() == 6


def test_what_is_there_is_not_run_again_and_what_is_new_is(
    done: helm.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "more"
    shutil.copytree(done.folder, folder)
    trained: list[str] = []
    original = run_folders.trained

    def counted(each: Any, *rest: Any) -> Any:
        trained.append(each.labels["scheme"])
        return original(each, *rest)

    monkeypatch.setattr(run_folders, "trained", counted)
    run(study(folder))
    assert trained == []
    more = study(folder, schemes=[*SMALL["schemes"], "reinforce"])
    run(more)
    assert trained == ["reinforce", "reinforce"]
    assert len(more.runs()) == 8


def test_a_digest_tells_what_decides_the_numbers_and_nothing_else(tmp_path: Path) -> None:
    def digests(**changed: Any) -> list[str]:
        one = {"schemes": ["vimco"], "settings": {"learning_rate": 0.01}}
        return [each.digest for each in study(tmp_path, **(one | changed)).plan]

    same = digests()
    assert digests(schemes=[helm.VIMCO(5)]) == same  # five is its own choice
    assert digests(schemes=[{"scheme": "vimco", "name": "mine"}], name="other", reference="mine") == same
    assert digests(datasets=[helm.load_data("bars")]) != same
    for changed in (
        {"schemes": [helm.VIMCO(6)]},
        {"settings": {"learning_rate": 0.02}},
        {"machines": ["sigmoid 4"]},
        {"machines": [{"machine": "odds 4", "arguments": {"fixed_leak": 0.1}}]},
        {"budget": "90 steps"},
        {"restarts": 3},
        {"seeds": [1]},
        {"datasets": [BARS | {"data_seed": 1}]},
        {"scores": {"num_samples": 6}},
    ):
        assert digests(**changed) != same


def own_machine(width: int, seed: int, restarts: int, hidden: int = 3) -> Any:
    return BeliefNetwork((width, hidden), restarts=restarts, seed=seed), helm.FactorialRecognition(
        (width, hidden), restarts=restarts, seed=seed
    )


class Broken(helm.WakeSleep):
    name = "broken"

    def restart_losses(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        raise RuntimeError("no numbers today")


def test_ones_own_machine_and_data_and_a_run_that_fails(tmp_path: Path) -> None:
    data = helm.load_data("bars")
    mine = replace(data, name="mine", train=data.train[:60], valid=data.valid[:20], test=data.test[:20])
    asked = study(
        tmp_path / "own",
        datasets=[mine],
        machines=[{"machine": own_machine, "name": "mine", "arguments": {"hidden": 2}}],
        schemes=[helm.WakeSleep(), Broken(), {"scheme": "exact_em", "max_terms": 2}],
        settings={},
    )
    with pytest.warns(RuntimeWarning, match="mine mine") as said:
        runs = run(asked).set_index("scheme")
    assert [str(each.message).partition(": ")[2][:8] for each in said] == ["RuntimeE", "exact EM"]
    assert runs.state.to_dict() == {"wake_sleep": "finished", "broken": "failed", "exact_em": "intractable"}
    assert runs.why["broken"] == "RuntimeError: no numbers today"
    assert asked.table().sizes.unique().tolist() == ["16-2"]
    # the data are in the folder, for whoever opens it elsewhere
    moved = shutil.move(tmp_path / "own", tmp_path / "moved")
    opened = helm.Study.open(moved)
    assert opened.data(opened.table().run[0]).train.equal(mine.train)


@pytest.mark.parametrize("machine", ["odds 3", {"machine": own_machine, "name": "own"}])
def test_a_machine_that_was_trained_on_missing_values_is_made_anew(machine: Any, tmp_path: Path) -> None:
    data = helm.load_data("bars")
    hidden = torch.rand(data.train.shape, generator=torch.Generator().manual_seed(0)) < 0.25
    train = data.train.float().masked_fill(hidden, torch.nan)
    partly = replace(data, name="partly", train=train[:60], valid=train[60:80], test=data.test[:20], distribution=None)
    changed = {"machines": [machine], "schemes": ["wake_sleep"], "settings": {}, "scores": {"method": "exact"}}
    asked = study(tmp_path, datasets=[partly], **changed)
    (digest,) = run(asked).run
    guide: Any
    model, guide = asked.machine(digest)
    assert bool((guide.recognition[0].missing_weight != 0).any())
    exact = helm.log_likelihood(model, guide, asked.data(digest).valid, method="exact").summary.log_likelihood
    ours = asked.table().query("split == 'valid' and metric == 'log_likelihood'").value
    assert ours.tolist() == pytest.approx(exact.tolist())


KEPT_ALIVE: list[Any] = []


def own_machine_that_lives_on(width: int, seed: int, restarts: int) -> Any:
    KEPT_ALIVE.append(own_machine(width, seed, restarts, hidden=2))
    return KEPT_ALIVE[-1]


def test_a_scheme_that_remembers_machines_is_another_in_every_run(tmp_path: Path) -> None:
    remembers = helm.MemoisedWakeSleep(2)
    model, guide = own_machine(16, 0, 1, hidden=2)
    remembers.loss(model, guide, observations={"x": helm.load_data("bars").train[:5]})
    learned = {name: value.clone() for name, value in remembers.state_dict().items()}
    asked = study(
        tmp_path,
        machines=[{"machine": own_machine_that_lives_on, "name": "lives on"}],
        schemes=[remembers],
        settings={"learning_rate": [0.01, 0.1]},
    )
    assert run(asked).state.tolist() == ["finished"] * 2
    assert len(KEPT_ALIVE) >= 2
    assert all(value.equal(learned[name]) for name, value in remembers.state_dict().items())


class Counting(helm.WakeSleep):
    """One's own scheme with a state, which says what it holds and takes nothing else."""

    name, captures = "counting", False

    def __init__(self) -> None:
        super().__init__(1)
        self._steps = torch.zeros(())

    def estimate(self, programs: helm.Programs) -> helm.Estimate:
        self._steps = self._steps + torch.is_grad_enabled()
        return super().estimate(programs)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps}

    def load_state_dict(self, state: Any) -> None:
        self._steps = state["steps"]


def test_ones_own_scheme_with_a_state_is_taken_as_it_is(tmp_path: Path) -> None:
    mine = Counting()
    assert (
        run(study(tmp_path, schemes=[mine], settings={"learning_rate": [0.01, 0.1]})).state.tolist() == ["finished"] * 2
    )
    assert mine.state_dict()["steps"] == 0


def test_ctrl_c_ends_it_and_the_rest_is_trained_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = study(tmp_path, schemes=["wake_sleep"])
    original = final_scores
    calls: list[int] = []

    def interrupted(*args: Any, **kwargs: Any) -> pd.DataFrame:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(run_folders, "final_scores", interrupted)
    assert run(asked).state.tolist() == ["finished", "waiting"]
    assert asked.interrupted == 2  # SIGINT
    assert run(asked).state.tolist() == ["finished", "finished"]
    assert asked.interrupted is None


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    asked = study(tmp_path, schemes=["wake_sleep"], settings={})
    folder = run_folders.folder_of(asked.plan[0], tmp_path)
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"), pytest.warns(RuntimeWarning, match="another run is being written"):
        assert run(asked).state.tolist() == ["waiting"]
    assert run(asked).state.tolist() == ["finished"]


def test_studies_copied_together_are_one_and_unlike_copies_are_told(done: helm.Study, tmp_path: Path) -> None:
    other = study(tmp_path / "both" / "b", schemes=["reinforce"])
    run(other)
    shutil.copytree(done.folder, tmp_path / "both" / "a")
    both = helm.Study.open(tmp_path / "both")
    assert len(both.runs()) == 8
    assert set(both.chosen().scheme) == {"wake_sleep", "vimco", "reinforce"}
    assert both.conflicts().empty
    shutil.copytree(other.folder, tmp_path / "both" / "c")
    assert len(helm.Study.open(tmp_path / "both").runs()) == 8  # the same run twice, with the same numbers
    scores = sorted((tmp_path / "both" / "c").glob("runs/*/scores.parquet"))[0]
    pd.read_parquet(scores).assign(value=0.5).to_parquet(scores)
    conflicts = helm.Study.open(tmp_path / "both").conflicts()
    assert "numbers, the first elbo of restart 0" in conflicts.what.item()


def test_a_damaged_file_is_named(done: helm.Study, tmp_path: Path) -> None:
    shutil.copytree(done.folder, tmp_path / "damaged")
    path = next((tmp_path / "damaged" / "runs").glob("*/outcome.json"))
    path.write_text(path.read_text()[:20])
    with pytest.raises(ValueError, match=r"outcome.json is damaged"):
        helm.Study.open(tmp_path / "damaged").runs()
    with pytest.raises(FileNotFoundError, match="there is no study at"):
        helm.Study.open(tmp_path / "none")


def test_data_that_differ_here_are_refused(tmp_path: Path) -> None:
    from pyro_helm.experiments.data_sets import data_of

    asked = study(tmp_path)
    said = json.loads(json.dumps(asked.plan[0].description["data"]))
    with pytest.raises(ValueError, match="is not the one that the study was made with"):
        data_of(said | {"digest": "0"}, tmp_path)
    with pytest.raises(FileNotFoundError, match="the data of this run are not here"):
        data_of({"source": None, "digest": "0"}, tmp_path)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"schemes": ["vimc"]}, "unknown scheme 'vimc'; did you mean vimco"),
    ({"schemes": [{"scheme": "vimco", "partcles": 2}]}, "vimco: unknown setting 'partcles'"),
    ({"schemes": [helm.VIMCO(2), helm.VIMCO(2)]}, "each named once"),
    ({"schemes": [helm.VIMCO]}, "schemes must be a list of schemes"),
    ({"schemes": "vimco"}, "schemes must be a list of one or more"),
    (
        {"schemes": [{"scheme": "vimco"}, {"scheme": "vimco", "name": "other"}]},
        "are the same, with the same settings; name one of them",
    ),
    ({"settings": {"learning_rat": 0.1}}, "unknown setting 'learning_rat'; did you mean learning_rate"),
    ({"settings": {"learning_rate": []}}, "learning_rate is an empty list"),
    ({"settings": {"optimizer": "sgd"}}, "unknown optimizer 'sgd'"),
    ({"settings": {"on_distribution": True}, "datasets": ["digits"]}, "has no distribution"),
    ({"machines": ["odd 4"]}, "unknown imaging model 'odd'; did you mean odds"),
    ({"machines": ["odds"]}, "machine 'odds' can't be read; expected a line"),
    ({"machines": [{"machine": "odds 4", "arguments": {"imaging": "sigmoid"}}]}, "imaging is given twice"),
    ({"machines": ["nowhere:machine"]}, "machine 'nowhere:machine' can't be found"),
    ({"machines": []}, "machines must be a list of one or more"),
    ({"datasets": ["bar"]}, "unknown data set 'bar'"),
    ({"datasets": [{"name": "bars"}]}, "a data set of the study has no 'data'"),
    ({"datasets": [BARS | {"train": 0}]}, "train must be"),
    ({"budget": "5 hours"}, "budget is '5 hours', expected for example"),
    ({"budget": "5 seconds", "settings": {"schedule": "cosine"}}, "a schedule needs a number of epochs"),
    ({"reference": "nvil"}, "reference is 'nvil', expected one of the schemes"),
    ({"restarts": 0}, "restarts must be at least 1"),
    ({"seeds": [-1]}, "seed must be from 0"),
]


@pytest.mark.parametrize(("changed", "sentence"), REFUSED)
def test_what_is_no_study_is_refused_in_a_sentence(changed: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError), match=sentence):
        study(tmp_path, **changed)


def test_part_of_a_study_has_the_runs_that_were_asked_for(done: helm.Study) -> None:
    part = done.only(learning_rate=["0.010"], scheme="vimco")
    assert {run.digest for run in part.plan} == set(
        done.runs().query("scheme == 'vimco' and learning_rate == 0.01").run
    )
    assert len(part.only(num_particles=2).plan) == 1
    with pytest.raises(ValueError, match=r"no run has num_particles 2[.]5, expected one of 1, 2, 3"):
        part.only(num_particles=2.5)
    with pytest.raises(ValueError, match=r"no run has scheme vimmco, expected one of wake_sleep, vimco"):
        done.only(scheme=["wake_sleep", "vimmco"])
    with pytest.raises(ValueError, match=r"no run has all of scheme wake_sleep, num_particles 2"):
        done.only(scheme="wake_sleep", num_particles=2)
    assert len(done.only(scheme=["wake_sleep", "vimco"], num_particles=2).plan) == 2  # a grid of the one, not of both
    with pytest.raises(ValueError, match="choose rows of the tables"):
        helm.Study.open(done.folder).only(scheme="vimco")


def test_a_part_that_is_run_leaves_the_tables_those_of_the_whole(done: helm.Study) -> None:
    kept = {path.name: path.read_text() for path in done.folder.iterdir() if path.suffix in (".csv", ".json")}
    part = done.only(scheme="vimco", num_particles=2)
    assert set(part.run(workers=1, progress=False).run) == {run.digest for run in part.plan}
    assert {name: (done.folder / name).read_text() for name in kept} == kept


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="must be a folder"):
        study(tmp_path / "file")
