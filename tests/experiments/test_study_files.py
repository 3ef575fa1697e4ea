"""Studies written as TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_helm.experiments.study_files import study_from_file

FILE = """
name = "a try"
budget = ["2 epochs", "5 steps"]
restarts = 2
schemes = ["wake_sleep", { scheme = "vimco", num_particles = [2, 3] }, { scheme = "own_study_scheme:Mine" }]

[settings]
learning_rate = [0.01, 0.1]
dtype = "float64"
batch_size = 30

[[datasets]]
data = "bars"
train = 60
valid = 20
machines = ["odds 4", { machine = "sigmoid 4-2", learning_rate = 0.03 }]

[[datasets]]
data = "bars"
name = "others"
data_seed = 1
machines = ["odds 3"]
"""

OWN = """
import pyro_helm as helm

class Mine(helm.WakeSleep):
    name = "mine"
"""


def written(folder: Path, text: str = FILE) -> Path:
    (folder / "own_study_scheme.py").write_text(OWN)
    path = folder / "try.toml"
    path.write_text(text)
    return path


def test_a_file_says_what_is_crossed(tmp_path: Path) -> None:
    study = study_from_file(written(tmp_path))
    assert study.folder == tmp_path / "try"
    assert study.name == "a try"
    # budgets x (machines: 2 learning rates, 1, 2 of the other data) x (wake_sleep, two of vimco, mine)
    assert len(study.plan) == 2 * (2 + 1 + 2) * 4
    assert {run.labels["dataset"] for run in study.plan} == {"bars", "others"}
    run = study.plan[0]
    assert run.description["settings"]["dtype"] == "torch.float64"
    assert (run.description["data"]["train"], run.settings["num_epochs"]) == (60, 2)
    assert {run.settings["num_epochs"] for run in study.plan if run.labels["dataset"] == "bars"} == {2, 3}


@pytest.mark.parametrize(
    ("was", "now", "sentence"),
    [
        ("budget", "bugdet", "try.toml: unknown key 'bugdet'; did you mean budget"),
        ("schemes =", "scheme =", "unknown key 'scheme'; did you mean schemes"),
        ("learning_rate = [", "learning_rates = [", "unknown setting 'learning_rates'; did you mean learning_rate"),
        ('"wake_sleep"', '"wake_slep"', "unknown scheme 'wake_slep'"),
        ("restarts = 2", "restarts = ", "can't be read as TOML"),
        ("own_study_scheme:Mine", "own_study_scheme:Nine", "scheme 'own_study_scheme:Nine' can't be found"),
        ("[[datasets]]", "[[data]]", "unknown key 'data'"),
        ("restarts = 2", "seeds = 0", "seeds must be a list of one or more, got 0"),
        ("restarts = 2", "scores = 5", "scores must be a table of settings of log_likelihood, got 5"),
        ("restarts = 2", "scores = { numsamples = 3 }", "unknown setting 'numsamples'; did you mean num_samples"),
        ("restarts = 2", 'scores = { splits = ["train"] }', "splits of scores must be a list of valid and test"),
        ("restarts = 2", 'scores = { splits = ["valid"] }', "splits of scores must have 'test', which results are"),
        ("batch_size = 30", 'batch_size = "al"', "batch_size must be a whole number, got 'al'"),
        ("[0.01, 0.1]", "-1", "learning_rate must be finite and not below 0, got -1"),
        ("float64", "float63", "dtype must be one of torch's, such as float64, got 'float63'"),
    ],
)
def test_a_file_that_is_wrong_is_answered_by_a_sentence(was: str, now: str, sentence: str, tmp_path: Path) -> None:
    assert was in FILE
    with pytest.raises(ValueError, match=sentence.replace("[", r"\[")):
        study_from_file(written(tmp_path, FILE.replace(was, now)))


def test_a_file_that_is_not_there_or_says_too_little(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no study file"):
        study_from_file(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="has no datasets, expected a list"):
        study_from_file(written(tmp_path, "restarts = 2"))
