"""Iterative recognition: where it begins, when it settles, and what it sees of labels and missing values."""

from __future__ import annotations

from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

import pyro_helm as helm
from tests.suite.enumeration import log_guide
from tests.suite.members import far_from_the_start

SIZES = (4, 3, 2)
ROWS = torch.tensor([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0]], dtype=torch.float64)


def probabilities(guide: helm.IterativeRecognition, iterations: int) -> Tensor:
    guide.iterations = iterations
    means: Tensor = poutine.trace(guide).get_trace({"x": ROWS}).nodes["h1"]["fn"].mean.detach()
    return means


def test_it_begins_as_the_factorial_guide_of_its_seed() -> None:
    iterative, factorial = (
        kind(SIZES, restarts=2, seed=5).double() for kind in (helm.IterativeRecognition, helm.FactorialRecognition)
    )
    drawn = []
    for guide in (iterative, factorial):
        pyro.set_rng_seed(0)
        drawn.append(torch.cat(guide({"x": ROWS}), -1))
    assert torch.equal(*drawn)


def test_iterations_converge_where_the_gain_is_below_one() -> None:
    guide = far_from_the_start(helm.IterativeRecognition(SIZES, seed=0, damping=1.0))
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.mul_(0.3)
    gain = float(guide.gain())
    assert 0.1 < gain < 1
    end = probabilities(guide, 200)
    assert torch.allclose(probabilities(guide, 201), end, atol=1e-14)
    for iterations in (1, 3, 6):
        distance = (probabilities(guide, iterations) - end).abs().max()
        assert 0 < float(distance) < gain**iterations


def test_iterations_may_go_back_and_forth_where_it_is_above_and_nothing_damps_them() -> None:
    guide = helm.IterativeRecognition(SIZES, seed=0, damping=1.0).double()
    with torch.no_grad():
        guide.prediction_h1.fill_(30.0)
    assert float(guide.gain()) > 1
    assert float((probabilities(guide, 201) - probabilities(guide, 200)).abs().max()) > 0.5
    guide.damping = 0.01
    assert float((probabilities(guide, 2001) - probabilities(guide, 2000)).abs().max()) < 1e-6


def test_a_label_drives_every_layer_and_is_not_predicted() -> None:
    guide = far_from_the_start(helm.IterativeRecognition(SIZES, condition=3, seed=0))
    observations = {"x": ROWS, "label": torch.tensor([0, 2, 1])}
    pyro.set_rng_seed(0)
    h1, h2 = guide(observations)
    trace = poutine.trace(poutine.condition(guide, {"h1": h1, "h2": h2})).get_trace(observations)
    trace.compute_log_prob()
    found = trace.nodes["h1"]["log_prob"] + trace.nodes["h2"]["log_prob"]
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 5)
    expected = log_guide(guide, observations)
    for datum, drawn in enumerate(torch.cat([h1, h2], -1)):
        place = int((states == drawn).all(-1).nonzero())
        assert torch.allclose(found[datum], expected[datum, place], rtol=1e-10)


@pytest.mark.parametrize(("setting", "value"), [("damping", 0.0), ("damping", 1.5), ("iterations", 0)])
def test_settings_out_of_range_are_refused(setting: str, value: Any) -> None:
    settings: dict[str, Any] = {setting: value}
    with pytest.raises(ValueError, match=setting):
        helm.IterativeRecognition(SIZES, **settings)
