"""``pyro-helm study``: a file in, tables out, and a status that a script can use."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import pyro_helm as helm
from pyro_helm.cli.app import app

FILE = """
schemes = ["wake_sleep", { scheme = "exact_em", max_terms = MOST }]
machines = ["odds 4"]
budget = "2 steps"
restarts = 2
settings = { batch_size = 30 }
scores = { num_samples = 5 }
datasets = [{ data = "bars", train = 60, valid = 20 }]
"""


pytestmark = pytest.mark.filterwarnings("default::RuntimeWarning")  # which the command prints


def study(folder: Path, text: str, *options: str) -> Result:
    (folder / "s.toml").write_text(text)
    return CliRunner().invoke(app, ["study", str(folder / "s.toml"), *options])


def test_a_study_prints_what_it_chose_and_goes_on_where_it_was(tmp_path: Path) -> None:
    shown = study(tmp_path, FILE.replace("MOST", "10000000"), "--workers", "1")
    assert shown.exit_code == 0, shown.output
    assert "best setting on validation data" in shown.output
    assert f"runs and tables: {tmp_path / 's'}" in shown.output
    assert (tmp_path / "s" / "chosen.csv").exists()
    # a scheme that can't train it is a row, and a status of its own
    shown = study(tmp_path, FILE.replace("MOST", "2"), "--workers", "1")
    assert shown.exit_code == 3
    assert "exact EM would sum over 16 joint states" in shown.output
    assert "1 of 2 runs failed" in shown.output


def test_a_study_of_which_nothing_came_says_why(tmp_path: Path) -> None:
    shown = study(tmp_path, FILE.replace("MOST", "2").replace('"wake_sleep", ', ""), "--workers", "1")
    assert shown.exit_code == 1
    assert "every run failed, so nothing was learned; the first says: exact EM would sum" in shown.output


def test_part_of_a_study_is_carried_out_alone_and_the_rest_later(tmp_path: Path) -> None:
    text = FILE.replace("MOST", "10000000").replace("batch_size = 30", "batch_size = 30, learning_rate = [0.01, 0.1]")
    shown = study(tmp_path, text, "--only", "scheme=wake_sleep", "--only", "learning_rate=0.10", "--workers", "1")
    assert shown.exit_code == 0, shown.output
    assert "exact_em" not in shown.output
    assert "4 runs: 1 finished, 3 not begun" in shown.output
    opened = helm.Study.open(tmp_path / "s")
    assert "4 runs: 1 finished, 3 not begun" in repr(opened)
    words = helm.report(opened.folder).read_text()
    assert "3 of 4 runs are not finished: the answer may change" in words
    assert "every run is finished" not in words
    run = pd.read_csv(tmp_path / "s" / "runs.csv")
    assert run[["scheme", "learning_rate", "state"]].to_numpy().tolist() == [["wake_sleep", 0.1, "finished"]]
    before = (Path(run.folder[0]) / "outcome.json").stat().st_mtime_ns
    assert study(tmp_path, text, "--workers", "1").exit_code == 0
    assert pd.read_csv(tmp_path / "s" / "runs.csv").state.tolist() == ["finished"] * 4
    assert (Path(run.folder[0]) / "outcome.json").stat().st_mtime_ns == before


def test_without_validation_scores_the_runs_are_shown_and_no_setting_is_chosen(tmp_path: Path) -> None:
    text = FILE.replace("MOST", "2").replace("30 }", "30, learning_rate = [0.01, 0.1] }")
    text = text.replace("num_samples = 5", 'num_samples = 5, splits = ["test"]')
    shown = study(tmp_path, text, "--workers", "1")
    assert shown.exit_code == 3, shown.output
    assert "settings can't be chosen without validation scores: wake_sleep has 2" in shown.output
    assert shown.output.count("wake_sleep") > 2  # its runs, with their numbers
    page = CliRunner().invoke(app, ["report", str(tmp_path / "s")])
    assert page.exit_code == 0, page.output
    assert "There is no answer: settings can&#39;t be chosen" in (tmp_path / "s" / "report.html").read_text()


@pytest.mark.parametrize(
    ("was", "now", "options", "sentence"),
    [
        (
            "MOST",
            "2",
            ("--only", "scheme"),
            "--only 'scheme' has no value; expected name=value, such as",
        ),
        ("MOST", "2", ("--only", "shceme=vimco"), "'shceme'; did you mean scheme?"),
        (
            "MOST",
            "2",
            ("--only", "scheme=vimco,tvo"),
            "no run has scheme tvo or vimco, expected one of wake_sleep, exact_em",
        ),
        (
            "MOST",
            "2",
            ("--only", "scheme=wake_sleep,vimco"),
            "no run has scheme vimco, expected one of wake_sleep, exact_em",
        ),
        ("MOST", "2", ("--only", "seed=0", "--only", "seed=1"), "--only seed is given twice"),
        ("restarts", "restart", (), "unknown key 'restart'; did you mean restarts?"),
        ("wake_sleep", "wake_slep", (), "unknown scheme 'wake_slep'; did you mean wake_sleep?"),
        ("bars", "no/such.npz", (), "no/such.npz"),
        ("MOST", "2", ("--out", "FILE"), "must be a folder, but"),
        (
            "MOST",
            "2",
            ("--scheduler", "tcp://127.0.0.1:9", "--workers", "2"),
            "--workers counts processes of this computer",
        ),
    ],
)
def test_misuse_is_answered_by_a_sentence(
    was: str, now: str, options: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    given = [str(tmp_path / "file") if option == "FILE" else option for option in options]
    shown = study(tmp_path, FILE.replace(was, now).replace("MOST", "2"), *given)
    assert shown.exit_code == 2, shown.output
    assert sentence in " ".join(shown.output.split())
    assert "Traceback" not in shown.output
