"""Importance sampling: unbiased weights, honest errors, memory that does not grow."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pyro_helm as helm
import pyro_helm.likelihoods.importance as module
from pyro_helm.likelihoods.importance import RunningWeights, importance_bounds, importance_sampling
from pyro_helm.programs.particles import Particles, Program, draw_from_guide
from tests.checker import DATA, replicates, tiny_machine

REPLICATES = 3000


def test_weights_average_to_the_evidence_and_log_weights_to_the_bound() -> None:
    machine = tiny_machine("odds")
    model, guide = replicates(machine, REPLICATES)
    pyro.set_rng_seed(0)
    estimate = importance_sampling(model, guide, DATA, num_samples=20, draws_at_once=200_000)
    evidence = machine.log_evidence(DATA).exp().detach()
    likelihood = estimate.log_likelihood.exp()
    for samples, exact in ((likelihood, evidence), (estimate.elbo, machine.elbo(DATA).detach())):
        z = (samples.mean(0) - exact) / (samples.std(0) / REPLICATES**0.5)
        assert float(z.abs().max()) < 4  # z-threshold


def test_standard_errors_are_those_of_repeated_estimates() -> None:
    machine = tiny_machine("noisy_or")
    model, guide = replicates(machine, 2000)
    pyro.set_rng_seed(0)
    estimate = importance_sampling(model, guide, DATA, num_samples=200, draws_at_once=400_000)
    observed = estimate.log_likelihood.std(0)
    assert torch.allclose(estimate.stderr.mean(0), observed, rtol=0.1)
    inside = (estimate.log_likelihood - machine.log_evidence(DATA).detach()).abs() < 1.96 * estimate.stderr
    assert 0.93 < float(inside.double().mean()) < 0.97


def test_effective_sample_size_and_error_by_their_definitions() -> None:
    machine = tiny_machine("sigmoid")
    pyro.set_rng_seed(0)
    estimate = importance_sampling(machine.model, machine.guide, DATA, num_samples=50)
    pyro.set_rng_seed(0)
    particles = draw_from_guide(machine.model, machine.guide, 50, kwargs={"observations": {"x": DATA}})
    weight = particles.log_weight.detach().exp()
    ess = weight.sum(0) ** 2 / (weight**2).sum(0)
    stderr = weight.std(0) / weight.mean(0) / 50**0.5
    assert torch.allclose(estimate.ess, ess)
    assert torch.allclose(estimate.stderr, stderr)
    assert torch.allclose(estimate.log_likelihood, weight.mean(0).log())


def test_the_bounds_alone_are_those_of_the_whole_estimate_bit_for_bit() -> None:
    machine = tiny_machine("odds")
    with torch.random.fork_rng():
        pyro.set_rng_seed(0)
        whole = importance_sampling(machine.model, machine.guide, DATA, num_samples=70)
        pyro.set_rng_seed(0)
        alone = importance_bounds(machine.model, machine.guide, DATA, num_samples=70)
    for name in alone._fields:
        assert torch.equal(getattr(alone, name), getattr(whole, name)), name


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
    estimate = importance_sampling(model, guide, data, num_samples=333, draws_at_once=1000)
    assert max(drawn) <= 1000
    assert sum(drawn) == 333 * 4 * 90
    assert estimate.log_likelihood.shape == (4, 90)


def test_one_sample_knows_nothing_of_its_error() -> None:
    machine = tiny_machine("sigmoid")
    estimate = importance_sampling(machine.model, machine.guide, DATA, num_samples=1)
    assert bool(estimate.stderr.isnan().all())
    assert torch.allclose(estimate.log_likelihood, estimate.elbo)


def test_bounds_at_fewer_samples_and_the_jackknife_are_by_their_definitions() -> None:
    machine = tiny_machine("sigmoid")
    pyro.set_rng_seed(0)
    estimate = importance_sampling(machine.model, machine.guide, DATA, num_samples=20)
    pyro.set_rng_seed(0)
    particles = draw_from_guide(machine.model, machine.guide, 20, kwargs={"observations": {"x": DATA}})
    weight = particles.log_weight.detach().exp()
    for bound, parts in ((estimate.bound_half, 2), (estimate.bound_quarter, 4)):
        assert torch.allclose(bound, weight.unflatten(0, (parts, -1)).mean(1).log().mean(0))
    without = ((weight.sum(0) - weight) / 19).log().mean(0)
    assert torch.allclose(estimate.jackknife, 20 * weight.mean(0).log() - 19 * without)


def test_the_jackknife_takes_off_most_of_the_bias() -> None:
    machine = tiny_machine("odds")
    model, guide = replicates(machine, 4000)
    pyro.set_rng_seed(0)
    estimate = importance_sampling(model, guide, DATA, num_samples=70, draws_at_once=10**6)
    truth = machine.log_evidence(DATA).detach()
    bias = (truth - estimate.log_likelihood.mean(0)).mean()
    assert abs(float((truth - estimate.jackknife.mean(0)).mean())) < 0.3 * float(bias)
    # the bias of the bound is about half its variance, and doubles when the samples are halved
    assert float((truth - estimate.bound_half.mean(0)).mean()) == pytest.approx(2 * float(bias), rel=0.3)
    assert float((truth - estimate.bound_quarter.mean(0)).mean()) == pytest.approx(4 * float(bias), rel=0.4)


def test_the_bootstrap_agrees_with_repeated_estimates() -> None:
    machine = tiny_machine("noisy_or")
    model, guide = replicates(machine, 2000)
    pyro.set_rng_seed(0)
    estimate = importance_sampling(model, guide, DATA, num_samples=200, draws_at_once=400_000)
    assert torch.allclose(estimate.stderr_bootstrap.mean(0), estimate.log_likelihood.std(0), rtol=0.1)


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(1, 150),
    pieces=st.sampled_from([1, 7, 64]),
    shift=st.sampled_from([0.0, -800.0, 900.0]),
    seed=st.integers(0, 1000),
)
def test_weights_may_be_read_in_pieces_and_be_of_any_size(number: int, pieces: int, shift: float, seed: int) -> None:
    log_weight = 5 * torch.randn(number, 2, 3, generator=torch.Generator().manual_seed(seed)).double()
    whole, parts = RunningWeights(number), RunningWeights(number)
    whole.add(log_weight)
    for piece in (log_weight + shift).split(pieces):
        parts.add(piece)
    moved = {"log_likelihood", "bound_half", "bound_quarter", "jackknife", "elbo"}
    for name, expected in whole.estimate()._asdict().items():
        if name != "stderr_bootstrap":  # whose resamples are drawn piece by piece
            found = getattr(parts.estimate(), name) - (shift if name in moved else 0)
            assert torch.allclose(found, expected, rtol=1e-8, atol=1e-8, equal_nan=True), name


def test_weights_that_are_all_zero_are_no_likelihood() -> None:
    weights = RunningWeights(4)
    weights.add(torch.full((2, 1, 1), -torch.inf))
    weights.add(torch.tensor([-torch.inf, -3.0])[:, None, None])
    assert weights.estimate().log_likelihood.item() == pytest.approx(-3 - torch.tensor(4.0).log().item())
    nothing = RunningWeights(2)
    nothing.add(torch.full((2, 1, 1), -torch.inf))
    assert nothing.estimate().log_likelihood.item() == -torch.inf


def test_what_is_kept_does_not_grow_with_the_samples() -> None:
    sizes = []
    for number in (1_000_000, 4_000_000):
        weights = RunningWeights(number)
        for _ in range(30):
            weights.add(torch.randn(100, 1, 2))
        sizes.append(sum(value.numel() for value in vars(weights).values() if isinstance(value, torch.Tensor)))
    assert sizes[0] == sizes[1]


LOADINGS = torch.tensor([[1.0, 0.5, 0.0, -0.3], [0.0, 0.8, 1.2, 0.4]], dtype=torch.float64)
NOISE = 0.6


def linear_gaussian(observations: dict[str, torch.Tensor]) -> None:
    with pyro.plate("data", len(observations["x"]), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z @ LOADINGS, NOISE).to_event(1), obs=observations["x"])


def roughly_its_posterior(observations: dict[str, torch.Tensor]) -> None:
    precision = torch.eye(2).double() + LOADINGS @ LOADINGS.mT / NOISE**2
    mean = observations["x"] @ LOADINGS.mT @ precision.inverse() / NOISE**2
    with pyro.plate("data", len(mean), dim=-1):
        pyro.sample("z", dist.Normal(mean, 1.3 * precision.inverse().diagonal().sqrt()).to_event(1))


def test_continuous_latents_agree_with_the_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 2, generator=generator).double() @ LOADINGS + NOISE * torch.randn(20, 4, generator=generator)
    covariance = LOADINGS.mT @ LOADINGS + NOISE**2 * torch.eye(4).double()
    truth = torch.distributions.MultivariateNormal(torch.zeros(4).double(), covariance).log_prob(x)
    scores = helm.log_likelihood(linear_gaussian, roughly_its_posterior, x, num_samples=20_000)
    z = (scores.table.log_likelihood - truth.numpy()) / scores.table.stderr
    assert z.abs().max() < 4  # z-threshold
    assert scores.summary.warnings.item() == ""
    assert scores.table.stderr.max() < 0.02
