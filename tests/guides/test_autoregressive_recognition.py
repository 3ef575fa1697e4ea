"""Recognition with lateral connections: what a factorial guide can't say, it can."""

from __future__ import annotations

import pyro
import pytest
import torch

import pyro_helm as helm


def test_it_begins_as_the_factorial_guide_of_its_seed() -> None:
    x = torch.eye(6)
    factorial, lateral = (
        kind((6, 4, 3), restarts=2, seed=1) for kind in (helm.FactorialRecognition, helm.AutoregressiveRecognition)
    )
    pyro.set_rng_seed(0)
    first = lateral({"x": x})
    found, expected = (
        pyro.poutine.trace(pyro.condition(guide, {"h1": first[0], "h2": first[1]})).get_trace({"x": x}).log_prob_sum()
        for guide in (lateral, factorial)
    )
    assert torch.allclose(found, expected)


def test_it_learns_that_of_two_causes_one_is_on() -> None:
    """Either of two causes turns x on: where it is on, a factorial guide must take both for likely, or neither."""
    model = helm.BeliefNetwork((1, 2), "noisy_or", learned_leak=(False, True), fixed_leak=(0.001, None), seed=0)
    with torch.no_grad():
        model.generative[0].weight_unconstrained.fill_(6.0)
        model.generative[1].learned_leak_unconstrained.fill_(-2.5)
    model.requires_grad_(False)
    kl = {}
    for kind in (helm.FactorialRecognition, helm.AutoregressiveRecognition):
        guide = kind((1, 2), seed=0)
        descent = torch.optim.Adam(guide.parameters(), lr=0.3)
        for _ in range(60):
            descent.zero_grad()
            helm.ExactEM().restart_losses(model, guide, observations={"x": torch.ones(1, 1)}).sum().backward()
            descent.step()
        divergence = helm.exact_posterior(model, guide, torch.ones(1, 1)).kl
        assert divergence is not None
        kl[kind] = float(divergence)
    assert kl[helm.FactorialRecognition] > 0.3
    assert kl[helm.AutoregressiveRecognition] < 0.02


@pytest.mark.parametrize("blocks", [0, 1, 2.5, "two"])
def test_blocks_out_of_range_are_refused(blocks: object) -> None:
    with pytest.raises(ValueError, match="blocks must be two or more, or None for one per unit; got"):
        helm.AutoregressiveRecognition((6, 4), blocks=blocks)  # type: ignore[arg-type]
