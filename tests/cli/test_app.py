"""The command line: each command does its job small, and says in a sentence what it cannot do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import pyro_helm as helm
from pyro_helm.cli.app import app
from pyro_helm.cli.completion import VISIBLE_ALONE, imaging_names
from pyro_helm.cli.ends import end_of_fit
from pyro_helm.cli.values import imaging_models
from pyro_helm.layers import IMAGING
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime import budget
from pyro_helm.training.progress import Bar

RUNNER = CliRunner()
QUICK = ["--epochs", "1", "--restarts", "2", "--particles", "2"]


def run(*arguments: str | Path) -> str:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str | Path) -> str:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "own.npy"
    np.save(path, (np.random.default_rng(0).random((200, 12)) < 0.3).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def trained(own_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    shown = run("fit", own_data, "--sizes", "4-2", "--imaging", "odds", "--out", out, *QUICK)
    assert "nats per datum" in shown
    return out


def test_a_schedule_goes_by_its_name(own_data: Path, tmp_path: Path) -> None:
    command: list[str | Path] = ["fit", own_data, "--sizes", "4-2", "--imaging", "odds", *QUICK, "--epochs", "2"]
    run(*command, "--out", tmp_path / "plain")
    run(*command, "--schedule", "constant", "--out", tmp_path / "constant")
    run(*command, "--schedule", "warm_up_cosine", "--out", tmp_path / "cosine")
    plain, constant, scheduled = (
        pd.read_csv(folder / "history.csv").value.tolist()
        for folder in (tmp_path / "plain", tmp_path / "constant", tmp_path / "cosine")
    )
    assert plain == constant != scheduled
    assert "unknown schedule 'slow'; known are constant, cosine" in refused(
        *command, "--schedule", "slow", "--out", tmp_path / "slow"
    )


def test_imaging_offers_what_all_layers_may_have(own_data: Path, tmp_path: Path) -> None:
    hidden = {name for name, kind in IMAGING.items() if kind.is_binary}
    assert {*IMAGING} - {*VISIBLE_ALONE} == hidden == {*imaging_names("")}
    assert set(imaging_models("all") or []) == hidden
    for command in ("fit", "compare"):
        said = refused(command, own_data, "--sizes", "4", "--imaging", "poisson", "--out", tmp_path / "out")
        assert "use --model 'belief_network visible=poisson'" in said


def test_a_machine_is_trained_without_a_guide(own_data: Path, tmp_path: Path) -> None:
    command: list[str | Path] = ["fit", own_data, "--sizes", "3", "--guide", "none", "--scheme", "exact_em", *QUICK]
    assert "best validation log-likelihood" in run(*command, "--out", tmp_path / "alone")
    assert helm.load(tmp_path / "alone")[1] is None
    asked: list[str | Path] = ["compare", own_data, "--sizes", "3", "--guide", "none", "--schemes", "exact_em", *QUICK]
    assert "exact_em" in run(*asked, "--samples", "5", "--out", tmp_path / "compared")


@pytest.mark.parametrize("command", [[], ["fit"], ["compare"], ["loglik"], ["draw"], ["data"]])
def test_help_says_what_it_does(command: list[str]) -> None:
    assert "Usage" in run(*command, "--help")


def test_captured_steps_train_the_same_machine(own_data: Path, trained: Path, tmp_path: Path) -> None:
    run("fit", own_data, "--sizes", "4-2", "--imaging", "odds", "--out", tmp_path, "--step", "captured", *QUICK)
    ours, theirs = (pd.read_csv(folder / "history.csv") for folder in (tmp_path, trained))
    assert ours.value.tolist() == theirs.value.tolist()


def test_fit_writes_a_machine_and_its_history(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names >= {"machine.safetensors", "history.parquet", "history.csv", "config.json"}


@pytest.mark.parametrize("optimizer", ["conjugate_gradient", "lbfgs"])
def test_what_a_full_batch_optimiser_has_no_use_for_is_refused(optimizer: str, own_data: Path, tmp_path: Path) -> None:
    command: list[str | Path] = ["fit", own_data, "--sizes", "3", "--scheme", "mean_field", "--optimizer", optimizer]
    for option, value in (("--batch-size", "100"), ("--learning-rate", "0.01")):
        shown = refused(*command, option, value, "--out", tmp_path / "out")
        assert f"--optimizer {optimizer} " in shown
        assert f"no {option}, got {value}" in shown
    assert not (tmp_path / "out").exists()
    run(*command, "--out", tmp_path / "out", "--epochs", "1", "--restarts", "2")
    assert (tmp_path / "out" / "machine.safetensors").exists()


def test_help_names_the_defaults_of_adam() -> None:
    shown = " ".join(run("fit", "--help").split())
    assert "(100)" in shown
    assert "(0.01)" in shown


@pytest.mark.parametrize("method", ["importance", "exact", "ais"])
def test_loglik_scores_it(trained: Path, own_data: Path, method: str, tmp_path: Path) -> None:
    shown = run(
        "loglik", trained, "--data", own_data, "--method", method, "--samples", "50", "--chains", "3", "--steps", "10",
        "--out", tmp_path / "scores",
    )  # fmt: skip
    assert "its 40 test cases: nats per datum" in " ".join(shown.split())
    assert len(pd.read_parquet(tmp_path / "scores.parquet")) == 2 * 40


def test_loglik_compares_two_machines(trained: Path, own_data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run("fit", own_data, "--sizes", "3", "--out", other, *QUICK)
    shown = run(
        "loglik", trained, "--data", own_data, "--against", other, "--method", "exact", "--out", tmp_path / "scores"
    )
    assert "above 0 where RUN is better than --against" in shown
    differences = pd.read_csv(tmp_path / "scores-differences.csv")
    assert differences[["restart", "against"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    means = [pd.read_parquet(tmp_path / f"scores{part}.parquet").log_likelihood.mean() for part in ("", "-against")]
    assert differences.difference.mean() == pytest.approx(means[0] - means[1])


def test_a_machine_compared_with_itself_differs_among_its_restarts_only(trained: Path, own_data: Path) -> None:
    shown = run("loglik", trained, "--data", own_data, "--against", trained, "--method", "exact")
    assert shown.count("0.000") >= 2


def test_loglik_takes_up_what_was_done(trained: Path, own_data: Path, tmp_path: Path) -> None:
    resume = tmp_path / "done"
    command: list[str | Path] = ["loglik", trained, "--data", own_data, "--samples", "50", "--resume", resume]
    assert run(*command) == run(*command)
    assert (resume / "run" / "chunk-00000.safetensors").exists()
    assert "holds chunks of another estimate, with other num_samples" in refused(*command, "--samples", "60")


def test_draw_makes_two_figures(trained: Path, own_data: Path, tmp_path: Path) -> None:
    run("draw", trained, "--data", own_data, "--out", tmp_path, "--restart", "1")
    assert {path.name for path in tmp_path.iterdir()} == {"weights.png", "dreams.png"}


def test_compare_writes_tables_figures_and_machines(own_data: Path, tmp_path: Path) -> None:
    shown = run(
        "compare", own_data, "--sizes", "12-3", "--schemes", "all", "--imaging", "sigmoid,odds", "--out", tmp_path,
        "--samples", "10", *QUICK,
    )  # fmt: skip
    assert "nats per datum" in shown
    for scheme in helm.SCHEMES:
        assert shown.count(f" {scheme} ") >= 2
    written = {path.name for path in tmp_path.iterdir()}
    figures = {"learning_curves.png", "dreams.png", "weights-sigmoid.png", "weights-odds.png"}
    assert written >= {"results.parquet", "results.csv", "summary.csv", "runs"} | figures


def test_what_is_of_tables_is_refused_for_a_data_set_by_name() -> None:
    assert "--index, --missing and --header are for a .csv file, got digits" in refused(
        "data", "digits", "--index", "x"
    )


def test_data_lists_what_can_be_loaded() -> None:
    shown = run("data")
    assert all(name in shown for name in ("shifter", "bars", "digits"))


def test_what_cannot_be_done_is_said_in_a_sentence(trained: Path, own_data: Path, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert f"known are {', '.join(helm.SCHEMES)}" in refused(
        "compare", own_data, "--sizes", "3", "--schemes", "unheard_of", *out
    )
    assert "known are sigmoid, noisy_or, odds" in refused("compare", own_data, "--sizes", "3", "--imaging", "x", *out)
    assert "--sizes must be units per layer such as 32-24-2, got 'a-b'" in refused(
        "fit", own_data, "--sizes", "a-b", *out
    )
    for option, name, known in (
        ("--scheme", "all", "reinforce, nvil, disarm, exact_layers, vimco, tvo, wake_sleep"),
        ("--scheme", "vimco,reinforce", "reinforce, nvil"),
        ("--optimizer", "all", "adam, adamw, conjugate_gradient, lbfgs"),
    ):
        what = option.removeprefix("--")
        shown = refused("fit", own_data, "--sizes", "3", option, name, *out)
        assert f"unknown {what} {name!r}; " in shown
        assert f"nown are {known}" in shown
    assert "nonsense" in refused("fit", "nonsense", "--sizes", "3", *out)
    assert "there is no machine at" in refused("loglik", tmp_path / "nothing", "--data", own_data)
    assert "32" in refused("loglik", trained, "--data", "shifter")
    assert "unknown method 'guess'; known are importance, exact, ais" in refused(
        "loglik", trained, "--data", own_data, "--method", "guess"
    )
    assert "raise max_terms" in refused("loglik", trained, "--data", own_data, "--method", "exact", "--max-terms", "9")
    assert "--device must be cpu, cuda or one of several as cuda:1; got 'nowhere'" in refused(
        "fit", own_data, "--sizes", "3", "--device", "nowhere", "--out", tmp_path / "made"
    )
    assert not (tmp_path / "out").exists()


def test_what_sizes_were_understood_as_is_said(own_data: Path, tmp_path: Path) -> None:
    for sizes in ("4-2", "12-4-2"):
        shown = run("fit", own_data, "--sizes", sizes, "--out", tmp_path / sizes, *QUICK)
        assert "machine 12-4-2: 12 visible units (the width of the data), hidden 4, 2" in shown


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_more_than_memory_holds_is_refused_before_the_training(
    command: str, own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "free_bytes", lambda device: 1000)
    shown = refused(command, own_data, "--sizes", "4", "--out", tmp_path / "out", *QUICK)
    assert "training 12-4 with 2 restarts, 2 particles and 100 data in a step takes at least" in shown
    assert "but 1000.0 B are free" in shown


def test_names_in_brackets_are_shown_as_they_are(own_data: Path, tmp_path: Path) -> None:
    """[/bold] would end the terminal's markup, [red] be swallowed by it, and $x^$ be taken for maths."""
    data = tmp_path / "[red]$x^$.npy"
    data.write_bytes(own_data.read_bytes())
    out = tmp_path / "[/bold]"
    assert "[red]$x^$, best validation" in run("fit", data, "--sizes", "3", "--out", out, *QUICK)
    other = tmp_path / "[/blue]"
    run("fit", data, "--sizes", "3", "--out", other, *QUICK)
    shown = run("loglik", out, "--data", data, "--against", other, "--samples", "10")
    # without white space, since a long path ends its line
    assert "[/blue]:[red]$x^$,its40testcases" in "".join(shown.split())
    run("draw", out, "--data", data, "--out", tmp_path / "[/drawn]")
    compared = run("compare", data, "--sizes", "3", "--schemes", "wake_sleep", "--out", tmp_path / "[/c]", *QUICK)
    assert "[red]$x^$" in compared


def test_paths_may_begin_with_the_home_folder(own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.npy").write_bytes(own_data.read_bytes())
    run("fit", "~/own.npy", "--sizes", "3", "--out=~/run", *QUICK)
    run("loglik", "~/run", "--data", "~/own.npy", "--resume", "~/done", "--against", "~/run", "--out", "~/scores")
    run("draw", "~/run", "--out", "~/figures")
    made = {path.name for path in tmp_path.iterdir()}
    assert made >= {"run", "done", "scores.csv", "scores-differences.csv", "figures"}
    assert "~" not in made


def test_a_machine_without_a_guide_is_drawn_without_its_weights(own_data: Path, tmp_path: Path) -> None:
    helm.save(tmp_path / "machine.safetensors", BeliefNetwork((12, 3), seed=0), None)
    shown = run("draw", tmp_path, "--data", own_data, "--out", tmp_path / "figures")
    assert "the machine has no guide, so its weights are not drawn" in shown
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["dreams.png"]


def test_a_training_goes_on_where_it_was(own_data: Path, tmp_path: Path) -> None:
    command: list[str | Path] = ["fit", own_data, "--sizes", "4-2", *QUICK, "--out"]
    run(*command, tmp_path / "whole", "--epochs", "3")
    run(*command, tmp_path / "parts", "--resume")
    run(*command, tmp_path / "parts", "--resume", "--epochs", "3")
    whole, parts = (pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "parts"))
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), parts.drop(columns="seconds"))
    assert "holds a run already" in refused(*command, tmp_path / "parts")
    assert "settings.seed: 0 there, 1 here" in refused(*command, tmp_path / "parts", "--resume", "--seed", "1")
    run(*command, tmp_path / "parts", "--overwrite", "--seed", "1", "--save-every", "5")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_training_saved_and_with_a_status(
    number: int, status: int, own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command: list[str | Path] = ["fit", own_data, "--sizes", "4-2", *QUICK, "--epochs", "3", "--out", tmp_path]
    with monkeypatch.context() as patched:
        patched.setattr(Bar, "advance", lambda *_, by=1: os.kill(os.getpid(), number) if by else None)
        result = RUNNER.invoke(app, [str(argument) for argument in command])
    assert result.exit_code == status
    assert len(set(pd.read_csv(tmp_path / "history.csv").epoch)) == 1
    run(*command, "--resume")
    assert len(set(pd.read_csv(tmp_path / "history.csv").epoch)) == 3


@pytest.mark.parametrize(("failed", "status"), [([False, True], 3), ([True, True], 1), ([False, False], 0)])
def test_the_status_tells_of_failed_restarts(failed: list[bool], status: int, tmp_path: Path) -> None:
    summary = pd.DataFrame({"failed": failed})
    model = BeliefNetwork((4, 2), restarts=2)
    result = helm.Result(model, None, pd.DataFrame(), summary, interrupted=False, step="eager")
    if status == 0:
        end_of_fit(result, tmp_path)
        return
    with pytest.raises(typer.Exit) as ended:
        end_of_fit(result, tmp_path)
    assert ended.value.exit_code == status


def test_a_machine_that_cannot_be_saved_is_saved_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model, table = BeliefNetwork((4, 2)), pd.DataFrame()
    result = helm.Result(model, None, table, table, interrupted=False, step="eager", unsaved="the disk is full")
    with pytest.raises(typer.Exit):
        end_of_fit(result, Path("out"))
    (rescued,) = tmp_path.iterdir()
    assert f"the disk is full; the machine is in {rescued} instead" in capsys.readouterr().err
    assert helm.load(rescued)[0].sizes == (4, 2)


def test_data_says_column_by_column_what_a_csv_was_read_as(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("id;party;budget\n7;left;y\n9;right;?\n11;left;n\n")
    shown = run("data", tmp_path / "votes.csv")
    read_as = "categories (left, right)", "n and y (0 and 1)", "names of the rows"
    for words in ("3 rows of 3 units", "semicolon", *read_as):
        assert words in " ".join(shown.split())


def test_a_table_with_markers_is_trained_on_scored_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{k},{k % 2},{k // 2 % 2},{-9 if k % 5 == 0 else k % 2}" for k in range(40)]
    Path("survey.csv").write_text("\n".join(["person,a,b,c", *rows]))
    source = "survey.csv missing=-9 index=person"
    settings = ["--sizes", "2", "--epochs", "1", "--restarts", "1", "--particles", "2"]
    assert RUNNER.invoke(app, ["fit", source, *settings, "--out", "run"]).exit_code == 0
    for again in (
        ["loglik", "run", "--data", source, "--samples", "5"],
        ["draw", "run", "--data", source, "--out", "d"],
    ):
        found = RUNNER.invoke(app, again)
        assert found.exit_code == 0, found.output


def test_counts_in_a_file_of_numpy_are_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("counts.npy", np.arange(80).reshape(20, 4) % 5)
    settings = ["--sizes", "2", "--epochs", "1", "--restarts", "1", "--particles", "2", "--out", "run"]
    found = RUNNER.invoke(app, ["fit", "counts.npy", "--model", "belief_network visible=poisson", *settings])
    assert found.exit_code == 0, found.output
