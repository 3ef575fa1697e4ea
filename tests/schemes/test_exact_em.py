"""Exact EM: no noise, no guide needed, and the cost of the E-step said before it is paid."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from pyro import poutine

import pyro_helm as helm
from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import ExactEM, Intractable
from tests.checker import DATA, tiny_machine


def test_without_a_guide_it_is_minus_the_log_likelihood_of_each_restart() -> None:
    model = BeliefNetwork((3, 4, 2), "noisy_or", restarts=3, seed=0).double()
    losses = ExactEM().restart_losses(model, None, observations={"x": DATA})
    exact = helm.log_likelihood(model, None, DATA, method="exact").summary.log_likelihood
    assert torch.allclose(-losses.detach() / len(DATA), torch.tensor(exact.to_numpy()), rtol=1e-9)


def test_a_step_never_lowers_the_likelihood_for_a_small_enough_rate() -> None:
    model = BeliefNetwork((3, 3), seed=0).double()
    descent = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(50):
        descent.zero_grad()
        losses.append(ExactEM().loss_and_grads(model, None, observations={"x": DATA}))
        descent.step()
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_conjugate_gradient_takes_it_since_it_has_no_noise() -> None:
    model = BeliefNetwork((3, 2), restarts=2, seed=0)
    result = helm.fit(
        model,
        None,
        DATA,
        scheme=ExactEM(),
        optimizer=helm.ConjugateGradient,
        batch_size=None,
        num_epochs=1,
        dtype=torch.float64,
        progress=False,
    )
    assert result.guide is None
    assert result.summary.best.min() > -2.1


def test_what_is_masked_counts_for_nothing() -> None:
    model, mask = BeliefNetwork((3, 4), seed=0).double(), torch.tensor([True, False, True])
    masked = ExactEM().loss(poutine.mask(model, mask), None, observations={"x": DATA})
    assert masked == pytest.approx(ExactEM().loss(model, None, observations={"x": DATA[mask]}))


def test_too_many_states_are_refused_with_their_number_before_anything_is_summed() -> None:
    machine = tiny_machine("sigmoid")
    with pytest.raises(Intractable, match=r"16 joint states for each datum and restart, 2\^5\.6 terms a step"):
        ExactEM(max_terms=47).loss(machine.model, machine.guide, observations={"x": DATA})
    assert ExactEM(max_terms=48).loss(machine.model, machine.guide, observations={"x": DATA}) > 0
    big = BeliefNetwork((3, 200), seed=0)
    with pytest.raises(Intractable, match="use fewer hidden units"):
        ExactEM().loss(big, None, observations={"x": DATA.float()})


@pytest.mark.parametrize(("max_terms", "sentence"), [(0, "must be at least 1, got 0"), (1.5, "must be a whole number")])
def test_settings_out_of_range_are_refused(max_terms: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"max_terms {sentence}"):
        ExactEM(max_terms=max_terms)


def test_groups_of_which_one_is_on_are_captured_as_they_are_eager() -> None:
    x = (torch.rand(60, 6, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    learned = []
    for step in ("eager", "captured"):
        groups = {"h1": (3, 2)}
        model = helm.BeliefNetwork((6, 5), ("sigmoid", "categorical"), groups=groups, restarts=2, seed=0)
        guide = helm.FactorialRecognition((6, 5), groups=groups, restarts=2, seed=0)
        settings: dict[str, Any] = {"num_epochs": 3, "batch_size": 20, "step": step, "progress": False}
        helm.fit(model, guide, x, scheme=helm.ExactEM(), **settings)
        learned.append(torch.cat([parameter.flatten() for parameter in (*model.parameters(), *guide.parameters())]))
    assert torch.equal(*learned)
