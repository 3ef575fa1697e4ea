"""Exact log-likelihoods: brute force over the joint, and probabilities that sum to one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gradients import tiny_machine
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import IMAGING, Machine, binary_rows

import pyro_helm.likelihoods.exact as module
from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods.exact import all_states, exact
from pyro_helm.models import BeliefNetwork


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3), min_size=2, max_size=4),
    imaging=st.sampled_from(IMAGING),
    seed=st.integers(0, 10_000),
    terms_at_once=st.sampled_from([1, 7, 2**22]),
)
def test_it_agrees_with_brute_force_and_sums_to_one(
    sizes: list[int], imaging: str, seed: int, terms_at_once: int
) -> None:
    model = BeliefNetwork(sizes, imaging, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        every_x = binary_rows(sizes[0])
        log_p = exact(model, every_x, terms_at_once=terms_at_once)
        brute_force = Machine(model, FactorialRecognition(sizes).double()).log_evidence(every_x)
    assert torch.allclose(log_p[0], brute_force, rtol=0, atol=1e-10)
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_restarts_are_scored_side_by_side() -> None:
    model = BeliefNetwork((4, 3, 2), ("odds", "sigmoid", "noisy_or"), restarts=3, seed=0)
    x = binary_rows(4).float()
    together = exact(model, x)
    for restart in range(3):
        alone = BeliefNetwork((4, 3, 2), model.imaging)
        alone.load_state_dict({name: value[restart : restart + 1] for name, value in model.state_dict().items()})
        assert torch.allclose(together[restart], exact(alone, x)[0], atol=1e-6)


def test_states_are_listed_in_order() -> None:
    assert torch.equal(all_states(3).double(), binary_rows(3))


def test_what_cannot_be_enumerated_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sums over 2\^21 states of 21 hidden units and is offered for at most 20"):
        exact(BeliefNetwork((4, 11, 10)), torch.ones(1, 4))
    with pytest.raises(TypeError, match="enumerates the layers of a BeliefNetwork, got a Linear"):
        exact(torch.nn.Linear(2, 2), torch.ones(1, 2))  # type: ignore[arg-type]


def test_twenty_hidden_units_fit() -> None:
    machine = BeliefNetwork((6, 10, 10), seed=0)
    assert exact(machine, torch.ones(2, 6)).isfinite().all()


def test_it_agrees_with_the_oracle_of_the_gradient_tests() -> None:
    machine = tiny_machine("odds")
    every_x = binary_rows(3)
    assert torch.allclose(exact(machine.model, every_x)[0], machine.log_evidence(every_x))


def test_what_is_held_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    original = module._log_prob

    def recorded(layer: Any, values: torch.Tensor, causes: torch.Tensor | None) -> torch.Tensor:
        log_prob = original(layer, values, causes)
        held.append(max(log_prob.numel(), 0 if causes is None else layer.restarts * layer.num_units * len(causes)))
        return log_prob

    monkeypatch.setattr(module, "_log_prob", recorded)
    model = BeliefNetwork((5, 8, 3), restarts=2, seed=0)
    bounded = exact(model, binary_rows(5).float(), terms_at_once=500)
    assert max(held) <= 500
    assert torch.allclose(bounded, exact(model, binary_rows(5).float()), atol=1e-5)
