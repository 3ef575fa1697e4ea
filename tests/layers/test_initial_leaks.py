"""Learned leaks begin where they are told to, in the units of their imaging model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pyro_helm.guides import AutoregressiveRecognition, FactorialRecognition, LateralRecognition
from pyro_helm.models import BeliefNetwork

SIZES = (6, 4, 2)


@pytest.mark.parametrize(("imaging", "leak", "probability"), [("odds", 0.25, 0.2), ("noisy_or", 0.2, 0.2)])
def test_a_leak_is_odds_or_a_probability_as_the_imaging_model_has_it(
    imaging: str, leak: float, probability: float
) -> None:
    model = BeliefNetwork(SIZES, imaging, restarts=3, initial_leak=(None, None, leak), seed=0)
    on = model.generative[2]().base_dist.probs
    assert torch.allclose(on, torch.tensor(probability))


def test_of_a_sigmoid_it_is_a_logit_and_below_the_top_it_is_there_when_no_cause_is_on() -> None:
    model = BeliefNetwork(SIZES, initial_leak=(None, -3, -2), seed=0)
    assert torch.equal(model.generative[1].drive(torch.zeros(1, 2)), torch.full((1, 4), -3.0))


@pytest.mark.parametrize("kind", [FactorialRecognition, AutoregressiveRecognition, LateralRecognition])
def test_a_recognition_bias_begins_with_few_units_on(kind: Any) -> None:
    guide = kind(SIZES, restarts=2, initial_bias=(-3, None), seed=0)
    assert (guide.recognition[0].learned_leak == -3).all()
    assert torch.equal(guide.recognition[1].learned_leak, kind(SIZES, restarts=2, seed=0).recognition[1].learned_leak)


def test_all_other_initial_values_are_those_without_it() -> None:
    plain, low = (BeliefNetwork(SIZES, "odds", initial_leak=leak, seed=0) for leak in (None, 0.05))
    for name, value in plain.state_dict().items():
        assert torch.equal(value, low.state_dict()[name]) != ("leak" in name)


def test_one_for_all_is_of_the_layers_that_learn_one() -> None:
    settings: dict[str, Any] = {"fixed_leak": (None, 0.05, 0.05), "learned_leak": (True, False, True)}
    model = BeliefNetwork(SIZES, "odds", initial_leak=0.5, seed=0, **settings)
    assert torch.allclose(model.generative[0].leak, torch.tensor(0.5))
    assert torch.allclose(model.generative[2].leak, torch.tensor(0.55))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"initial_leak": -0.1}, "must be a positive number, got -0.1"),
        ({"initial_leak": (0.1, 0.1)}, "initial_leak must be one value or 3"),
        (
            {"initial_leak": (None, 0.1, 0.1), "learned_leak": (True, False, True), "fixed_leak": 0.1},
            "that learns no leak",
        ),
        ({"initial_leak": 0.1, "learned_leak": False, "fixed_leak": 0.1}, "no layer learns a leak"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BeliefNetwork(SIZES, "odds", **arguments)
    with pytest.raises(TypeError, match="initial_bias must be a number"):
        FactorialRecognition(SIZES, initial_bias="low")  # type: ignore[arg-type]
