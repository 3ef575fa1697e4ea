"""``pyro-helm fit`` in stages: layer by layer, another scheme first, few causes at the start."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import pyro_helm as helm
from tests.cli.test_app import own_data, refused, run

__all__ = ["own_data"]

QUICK = ["--epochs", "1", "--restarts", "2", "--particles", "2"]


def test_layers_first_then_another_scheme_then_the_whole(own_data: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [
        "fit",
        own_data,
        "--sizes",
        "5-4-2",
        "--out",
        tmp_path,
        *QUICK,
        "--layer-by-layer",
        "2",
    ]
    run(*command, "--first-scheme", "mean_field", "--first-epochs", "1", "--schedule", "cosine", "--step", "captured")
    stages = [pd.read_csv(tmp_path / f"stage-{number}" / "history.csv") for number in (1, 2, 3)]
    stages.append(pd.read_csv(tmp_path / "history.csv"))
    assert [stage.sizes[0] for stage in stages] == ["12-5", "12-5-4", "12-5-4-2", "12-5-4-2"]
    assert [stage.scheme[0] for stage in stages] == ["mean_field"] * 3 + ["reweighted_wake_sleep"]
    assert [stage.epoch.max() for stage in stages] == [2, 2, 1, 1]
    assert helm.load(tmp_path)[0].sizes == (12, 5, 4, 2)
    configs = [json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "stage-3", tmp_path)]
    assert [config["settings"]["step"] for config in configs] == [None, "captured"]  # mean field can't be captured


def test_machines_begin_with_few_causes(own_data: Path, tmp_path: Path) -> None:
    command: list[str | Path] = ["fit", own_data, "--sizes", "4-2", "--imaging", "odds", "--out", tmp_path, *QUICK]
    model_line, guide_line = "belief_network initial_leak=[0.2,0.05,1]", "factorial_recognition initial_bias=[-3,0]"
    run(*command, "--model", model_line, "--guide", guide_line, "--learning-rate", "1e-9")
    model, guide = helm.load(tmp_path)
    assert torch.allclose(guide.recognition[0].learned_leak, torch.tensor(-3.0))
    assert torch.allclose(guide.recognition[1].learned_leak, torch.tensor(0.0), atol=1e-6)
    assert [float(layer.leak.detach().mean()) for layer in model.generative] == pytest.approx([0.2, 0.05, 1], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--first-epochs", "3"], "--first-epochs are those of --first-scheme"),
        (["--first-scheme", "vimco"], "need --layer-by-layer or --first-epochs"),
        (["--layer-by-layer", "1", "--first-scheme", "vimc"], "did you mean vimco"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(options: list[str], said: str, own_data: Path, tmp_path: Path) -> None:
    assert said in refused("fit", own_data, "--sizes", "4-2", "--out", tmp_path, *QUICK, *options)
    if "--layer-by-layer" not in options:
        answer = refused("fit", own_data, "--sizes", "4", "--out", tmp_path, *QUICK, "--layer-by-layer", "1")
        assert "needs two hidden layers or more" in answer
