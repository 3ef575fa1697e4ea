"""Learning rates by name follow their equations, in fit and on the command line."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.training.schedules import SCHEDULES, Schedule, by_name, cosine, step, warm_up_cosine


def rates(schedule: Schedule, num_epochs: int) -> list[float]:
    """The rate in each epoch of an optimiser whose own rate is 2."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    scheduler = schedule(optimizer)
    found = []
    for _ in range(num_epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_constant_is_the_rate_itself() -> None:
    assert rates(by_name("constant", 5), 5) == [2.0] * 5


def test_cosine_falls_from_the_rate_towards_zero() -> None:
    expected = [1 + math.cos(math.pi * epoch / 8) for epoch in range(8)]
    assert rates(cosine(8), 8) == pytest.approx(expected)
    assert rates(cosine(8), 10)[8:] == pytest.approx([0, 0])


def test_warm_up_rises_in_equal_steps_before_the_cosine() -> None:
    expected = [0.5, 1.0, 1.5, *(1 + math.cos(math.pi * epoch / 5) for epoch in range(5))]
    assert rates(warm_up_cosine(8, warm_up=3), 8) == pytest.approx(expected)
    assert rates(warm_up_cosine(20), 4) == pytest.approx([2 / 3, 4 / 3, 2.0, 1 + math.cos(math.pi / 18)])
    assert rates(warm_up_cosine(1), 1) == [2.0]  # too short for a warm-up
    assert rates(warm_up_cosine(8, warm_up=0), 8) == rates(cosine(8), 8)


def test_step_is_a_tenth_after_half_and_a_hundredth_after_three_quarters() -> None:
    assert rates(by_name("step", 8), 8) == pytest.approx([2.0] * 4 + [0.2] * 2 + [0.02] * 2)
    assert rates(step(6, at=(0.5,), factor=0.5), 6) == pytest.approx([2.0] * 3 + [1.0] * 3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_can_be_pickled(name: str) -> None:
    schedule = by_name(name, 7)
    assert rates(pickle.loads(pickle.dumps(schedule)), 7) == rates(schedule, 7)


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'cosinus'; did you mean cosine\? Known are constant, cosine, warm_up"):
        by_name("cosinus", 3)
    for name in ("cosine", "warm_up_cosine", "step"):
        with pytest.raises(ValueError, match="num_epochs must be at least 1, got 0"):
            by_name(name, 0)
    for warm_up in (-1, 5):
        with pytest.raises(ValueError, match=f"warm_up must be from 0 to num_epochs - 1 = 4, got {warm_up}"):
            warm_up_cosine(5, warm_up=warm_up)
    with pytest.raises(ValueError, match=r"at must hold shares of the epochs between 0 and 1, got \(0.5, 3\)"):
        step(5, at=(0.5, 3))
    with pytest.raises(ValueError, match="factor must be positive, got 0"):
        step(5, factor=0)


def test_fit_takes_a_name() -> None:
    data = helm.load_data("bars").train[:40]
    found = []
    for schedule in ("cosine", cosine(3), "constant", None):
        model, guide = BeliefNetwork((16, 3), seed=0), FactorialRecognition((16, 3), seed=0)
        settings: dict[str, Any] = {"num_epochs": 3, "batch_size": 20, "progress": False, "schedule": schedule}
        helm.fit(model, guide, data, scheme=helm.WakeSleep(), **settings)
        found.append(model.generative[0].weight.detach().clone())
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[2], found[3])  # a rate in a tensor is the rate
    assert not torch.equal(found[0], found[2])
