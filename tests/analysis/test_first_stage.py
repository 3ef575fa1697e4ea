"""The first stage alone begins where the call does, and each trial of it adds a row."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

import pyro_helm as helm
from analysis.paper.first_stage import lower_machine, main


def test_the_lower_machine_begins_with_the_biases_and_leaks_asked_for() -> None:
    model, guide = lower_machine("noisy_or", bias=-4, pixel_leak=0.25, restarts=2, seed=0)
    assert model.sizes == guide.sizes == (32, 24)
    assert torch.allclose(guide.recognition[0].learned_leak, torch.tensor(-4.0))
    assert torch.allclose(
        model.generative[0].leak, helm.BeliefNetwork((32, 24), "noisy_or", initial_leak=(0.25, None)).generative[0].leak
    )
    assert not any("leak" in name for name, _ in model.generative[1].named_parameters())


def test_every_trial_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shifter = helm.load_data("shifter")
    monkeypatch.setattr(helm, "load_data", lambda name: dataclasses.replace(shifter, train=shifter.train[:200]))
    app = typer.Typer()
    app.command()(main)
    for scheme in ("wake_sleep", "reweighted_wake_sleep"):
        command = ["--scheme", scheme, "--epochs", "1", "--restarts", "2", "--out", str(tmp_path)]
        assert CliRunner().invoke(app, command).exit_code == 0
    table = pd.read_csv(tmp_path / "first_stage.csv")
    assert table.scheme.tolist() == ["wake_sleep", "reweighted_wake_sleep"]
    assert table.with_all_pairs.tolist() == [0, 0]  # after two steps
