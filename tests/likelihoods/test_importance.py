"""Importance sampling: unbiased weights, honest errors, memory that does not grow."""

from __future__ import annotations

from typing import Any

import pyro
import pytest
import torch
from gradients import DATA, replicates, tiny_machine

import pyro_helm.likelihoods.importance as module
from pyro_helm.likelihoods.importance import importance
from pyro_helm.particles import Particles, Program, draw_from_guide

REPLICATES = 3000


def test_weights_average_to_the_evidence_and_log_weights_to_the_bound() -> None:
    machine = tiny_machine("odds")
    model, guide = replicates(machine, REPLICATES)
    pyro.set_rng_seed(0)
    estimate = importance(model, guide, DATA, num_samples=20, draws_at_once=200_000)
    evidence = machine.log_evidence(DATA).exp().detach()
    likelihood = estimate.log_likelihood.exp()
    for samples, exact in ((likelihood, evidence), (estimate.elbo, machine.elbo(DATA).detach())):
        z = (samples.mean(0) - exact) / (samples.std(0) / REPLICATES**0.5)
        assert float(z.abs().max()) < 4  # z-threshold


def test_standard_errors_are_those_of_repeated_estimates() -> None:
    machine = tiny_machine("noisy_or")
    model, guide = replicates(machine, 2000)
    pyro.set_rng_seed(0)
    estimate = importance(model, guide, DATA, num_samples=200, draws_at_once=400_000)
    observed = estimate.log_likelihood.std(0)
    assert torch.allclose(estimate.stderr.mean(0), observed, rtol=0.1)
    inside = (estimate.log_likelihood - machine.log_evidence(DATA).detach()).abs() < 1.96 * estimate.stderr
    assert 0.93 < float(inside.double().mean()) < 0.97


def test_effective_sample_size_and_error_by_their_definitions() -> None:
    machine = tiny_machine("sigmoid")
    pyro.set_rng_seed(0)
    estimate = importance(machine.model, machine.guide, DATA, num_samples=50)
    pyro.set_rng_seed(0)
    particles = draw_from_guide(machine.model, machine.guide, 50, kwargs={"observations": {"x": DATA}})
    weight = particles.log_weight.detach().exp()
    ess = weight.sum(0) ** 2 / (weight**2).sum(0)
    stderr = weight.std(0) / weight.mean(0) / 50**0.5
    assert torch.allclose(estimate.ess, ess)
    assert torch.allclose(estimate.stderr, stderr)
    assert torch.allclose(estimate.log_likelihood, weight.mean(0).log())


def test_the_draws_held_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tiny_machine("sigmoid")
    model, guide = replicates(machine, 4)
    drawn = []

    def counted(model: Program, guide: Program, number: int, **kwargs: Any) -> Particles:
        particles = draw_from_guide(model, guide, number, **kwargs)
        drawn.append(particles.log_weight.numel())
        return particles

    monkeypatch.setattr(module, "draw_from_guide", counted)
    data = DATA.repeat(30, 1)
    estimate = importance(model, guide, data, num_samples=333, draws_at_once=1000)
    assert max(drawn) <= 1000
    assert sum(drawn) == 333 * 4 * 90
    assert estimate.log_likelihood.shape == (4, 90)


def test_one_sample_knows_nothing_of_its_error() -> None:
    machine = tiny_machine("sigmoid")
    estimate = importance(machine.model, machine.guide, DATA, num_samples=1)
    assert bool(estimate.stderr.isnan().all())
    assert torch.allclose(estimate.log_likelihood, estimate.elbo)
