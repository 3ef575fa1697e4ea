"""Optimisers by a line of text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import pyro_helm as helm
from pyro_helm.experiments.optimizers import OPTIMIZERS, optimizer_of


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_name_alone_is_the_optimiser_itself(name: str) -> None:
    assert optimizer_of(name) is OPTIMIZERS[name]


def test_settings_reach_the_optimiser_beside_the_learning_rate() -> None:
    made = optimizer_of("adamw weight_decay=0.2 betas=[0.5, 0.9]")([torch.ones(2, requires_grad=True)], lr=0.5)
    assert isinstance(made, torch.optim.AdamW)
    (group,) = made.param_groups
    assert (group["weight_decay"], list(group["betas"]), group["lr"], group["fused"]) == (0.2, [0.5, 0.9], 0.5, True)
    assert isinstance(optimizer_of("torch.optim:SGD momentum=0.9")([torch.ones(1)], lr=1.0), torch.optim.SGD)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("adma", "unknown optimizer 'adma'; did you mean adam?"),
        ("adamw weight_dcay=0.1", "unknown setting of adamw 'weight_dcay'; did you mean weight_decay?"),
        ("adam params=3", "unknown setting of adam 'params'"),
        ("adam 0.1", "'0.1' is not name=value"),
    ],
)
def test_what_is_no_optimiser_is_refused_in_a_sentence(line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("?", "[?]")):
        optimizer_of(line)


def test_decay_is_a_setting_that_a_study_chooses_and_it_shrinks_the_weights(tmp_path: Path) -> None:
    study = helm.Study(
        tmp_path,
        datasets=[{"data": "bars", "train": 60, "valid": 20, "test": 30}],
        machines=["sigmoid 3"],
        schemes=["wake_sleep"],
        settings={"optimizer": ["adamw weight_decay=0", "adamw weight_decay=20"], "learning_rate": 0.02},
        budget="3 steps",
        restarts=1,
        scores={"num_samples": 5},
    )
    runs = study.run(workers=1, progress=False)
    assert study.varied == ["optimizer"]
    assert [text.rpartition(" ")[2] for text in runs.optimizer] == ["weight_decay=0", "weight_decay=20"]
    small, large = (
        sum(float(each.detach().square().sum()) for each in study.machine(run)[0].parameters())
        for run in reversed(runs.run.tolist())
    )
    assert small < 0.5 * large
    (chosen,) = study.chosen().to_dict("records")
    assert chosen["settings_tried"] == 2
