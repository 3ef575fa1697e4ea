"""The pair of programs draws and scores as the functions do that are given each part by itself."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pytest
import torch
from torch import Tensor

from pyro_helm import BeliefNetwork, FactorialRecognition, Programs
from pyro_helm.programs.dreams import draw_from_model
from pyro_helm.programs.particles import Particles, draw_from_guide, draw_from_prior, score

KWARGS = {"observations": {"x": torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])}}
MODEL, GUIDE = (part((3, 2, 2), restarts=2, seed=0) for part in (BeliefNetwork, FactorialRecognition))
STATES = {"h1": torch.tensor([[1.0, 0.0], [1.0, 1.0]])[:, None, None], "h2": torch.ones(1, 1, 1, 2)}


@pytest.mark.parametrize(
    ("of_pair", "alone"),
    [
        (lambda pair: pair.draw_from_guide(3), lambda: draw_from_guide(MODEL, GUIDE, 3, kwargs=KWARGS)),
        (lambda pair: pair.draw_from_model(3), lambda: draw_from_model(MODEL, GUIDE, 3, kwargs=KWARGS)),
        (lambda pair: pair.draw_from_prior(3), lambda: draw_from_prior(MODEL, 3, kwargs=KWARGS)),
    ],
    ids=["guide", "model", "prior"],
)
def test_draws_are_those_of_the_function_by_the_same_seed(
    of_pair: Callable[[Programs], Particles], alone: Callable[[], Particles]
) -> None:
    pyro.set_rng_seed(0)
    found = of_pair(Programs(MODEL, GUIDE, kwargs=KWARGS))
    pyro.set_rng_seed(0)
    expected = alone()
    assert found.log_joint.shape == (3, 2, 2)
    assert torch.equal(found.log_joint, expected.log_joint)
    assert _equal(found.log_q, expected.log_q)


def test_given_values_are_scored_under_both_programs() -> None:
    found = Programs(MODEL, GUIDE, kwargs=KWARGS).score(STATES)
    assert _equal(found.log_p, score(MODEL, STATES, kwargs=KWARGS).log_p)
    assert _equal(found.log_q, score(GUIDE, STATES, kwargs=KWARGS).log_p)


def test_without_a_guide_values_are_scored_under_the_model() -> None:
    found = Programs(MODEL, None, kwargs=KWARGS).score(STATES)
    assert _equal(found.log_p, score(MODEL, STATES, kwargs=KWARGS).log_p)
    assert not found.guide_sites


def test_arguments_by_position_reach_both_programs() -> None:
    pair = Programs(MODEL, GUIDE, args=(KWARGS["observations"],))
    assert _equal(pair.score(STATES).log_q, Programs(MODEL, GUIDE, kwargs=KWARGS).score(STATES).log_q)


def _equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
