"""Starts on real data are trained for equal seconds and tabulated."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import typer
from typer.testing import CliRunner

from analysis.paper import real_starts


def test_each_start_is_a_row_for_every_restart_and_is_not_run_again(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(real_starts.main)
    command = [
        "--data",
        "bars",
        "--imagings",
        "odds",
        "--seconds",
        "0.01",
        "--first-steps",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert CliRunner().invoke(app, command).exit_code == 0
    table = pd.read_csv(tmp_path / "real_starts.csv")
    assert table.groupby("start", sort=False).restart.apply(list).to_dict() == {
        start: [0, 1] for start in real_starts.STARTS
    }
    assert table.log_likelihood.between(-30, 0).all()
    assert CliRunner().invoke(app, command).output == ""
