"""The lowest layers of a network are a network with its values, and what they learn goes back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_helm.guides import AutoregressiveRecognition, FactorialRecognition, LateralRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.lower_layers import lowest_layers, put_back

SIZES = (6, 5, 4, 3)
MODELS: dict[str, dict[str, Any]] = {
    "odds": {"imaging": "odds", "fixed_leak": (None, 0.1, 0.1, 0.1), "learned_leak": (True, False, False, True)},
    "mixed": {"imaging": ("noisy_or", "odds", "sigmoid", "sigmoid")},
    "gaussian": {"visible": "gaussian"},
    "groups": {"imaging": ("categorical", "sigmoid", "categorical", "sigmoid"), "groups": {"x": (2, 4), "h2": 2}},
    "lateral": {"lateral": (False, False, True, True), "blocks": 2},
    "skip": {"skip": True},
    "condition": {"condition": 3},
    "skip, condition": {"skip": {"h1": ["h3"]}, "condition": 2},
}
GUIDES: dict[str, Any] = {
    "factorial": FactorialRecognition,
    "condition": lambda sizes, **more: FactorialRecognition(sizes, condition=2, **more),
    "autoregressive": AutoregressiveRecognition,
    "lateral": LateralRecognition,
    "trunk": lambda sizes, **more: FactorialRecognition(sizes, trunk=nn.Linear(6, 7), **more),
}


def log_prob(network: Any, site: str, units: dict[str, torch.Tensor]) -> torch.Tensor:
    known = dict(units)
    if network.condition:
        known["label"] = torch.tensor([0, 1, 1])
    trace = poutine.trace(network).get_trace(known)
    trace.compute_log_prob()
    value: torch.Tensor = trace.nodes[site]["log_prob"]
    return value


def states() -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    return {
        site: (torch.rand(3, size, generator=draws) < 0.5).float()
        for site, size in zip(("x", "h1", "h2", "h3"), SIZES, strict=True)
    }


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "groups"])
def test_with_the_layers_above_off_the_lower_layers_are_what_they_are_in_the_whole(name: str, number: int) -> None:
    whole = BeliefNetwork(SIZES, restarts=2, seed=0, **MODELS[name])
    part = lowest_layers(whole, number)
    sites = ["x", "h1", "h2", "h3"]
    units = states() | {site: torch.zeros(3, SIZES[sites.index(site)]) for site in sites[number:]}
    lower = {site: units[site] for site in sites[:number]}
    assert part.sizes == SIZES[:number]
    for site in lower:
        assert torch.equal(log_prob(part, site, lower), log_prob(whole, site, units))


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_what_the_lower_layers_learn_goes_back_and_the_rest_stays(name: str, number: int) -> None:
    check_goes_back(lambda seed: BeliefNetwork(SIZES, restarts=2, seed=seed, **MODELS[name]), number)


@pytest.mark.parametrize("name", GUIDES)
def test_so_it_does_in_a_guide(name: str) -> None:
    check_goes_back(lambda seed: GUIDES[name](SIZES, restarts=2, seed=seed), 2)


def check_goes_back(make: Any, number: int) -> None:
    whole, other = make(0), make(1)
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    part = lowest_layers(other, number)
    put_back(part, whole)
    again = lowest_layers(whole, number).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in part.state_dict().items())
    is_above = [name for name in before if name.split(".")[1:2] == [str(len(SIZES) - 1 - ("recognition" in name))]]
    assert all(torch.equal(before[name], whole.state_dict()[name]) for name in is_above)
    assert is_above


def test_the_rest_of_the_world_is_left_alone() -> None:
    whole = BeliefNetwork(SIZES, seed=0).double().eval()
    state = torch.get_rng_state()
    part = lowest_layers(whole, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert part.generative[0].weight.dtype is torch.float64
    assert not part.training


def test_weights_of_missing_values_go_back_too() -> None:
    guide = FactorialRecognition(SIZES, seed=0)
    part = lowest_layers(guide, 2)
    part.learn_missing()
    put_back(part, guide)
    assert guide.recognition[0].learns_missing


def test_a_program_of_ones_own_is_refused() -> None:
    class Own(BeliefNetwork):
        pass

    with pytest.raises(TypeError, match="only networks of this library"):
        lowest_layers(Own(SIZES, seed=0), 2)
