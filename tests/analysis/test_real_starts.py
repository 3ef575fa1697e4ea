"""Starts on real data are trained for equal seconds and tabulated."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import pyro_helm as helm
from analysis.paper import real_starts
from pyro_helm.training import step_choice


def test_each_start_is_a_row_for_every_restart_and_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = helm.load_data("bars")
    few = dataclasses.replace(bars, train=bars.train[:20], valid=bars.valid[:20])
    monkeypatch.setattr(helm, "load_data", lambda name: few)
    monkeypatch.setattr(step_choice, "STEPS_THAT_PAY", 10**9)  # eager steps: the budget is one epoch
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
