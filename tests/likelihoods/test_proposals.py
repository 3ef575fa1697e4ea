"""Proposals are Pyro guides of a known density: every estimate with them is unbiased."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods import mean_field, mixed_with_prior, prior, tempered
from pyro_helm.likelihoods.importance import importance_sampling
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.particles import Program
from tests.checker import DATA, replicates, tiny_machine

REPLICATES = 2000

PROPOSALS: dict[str, Callable[[BeliefNetwork, FactorialRecognition], Program]] = {
    "prior": lambda model, guide: prior(model),
    "defensive": lambda model, guide: mixed_with_prior(model, guide, prior_weight=0.3),
    "tempered": lambda model, guide: tempered(guide, temperature=2.0),
    "mean_field": lambda model, guide: mean_field(guide),
}


@pytest.mark.parametrize("name", PROPOSALS)
@pytest.mark.parametrize("num_samples", [1, 10])
def test_its_weights_average_to_the_evidence(name: str, num_samples: int) -> None:
    machine = tiny_machine("odds")
    model, guide = replicates(machine, REPLICATES)
    pyro.set_rng_seed(0)
    estimate = importance_sampling(
        model, PROPOSALS[name](model, guide), DATA, num_samples=num_samples, draws_at_once=10**6
    )
    likelihood = estimate.log_likelihood.exp()
    z = (likelihood.mean(0) - machine.log_evidence(DATA).exp()) / (likelihood.std(0) / REPLICATES**0.5)
    assert float(z.detach().abs().max()) < 4  # z-threshold


@pytest.mark.parametrize("name", PROPOSALS)
def test_a_single_restart_will_do(name: str) -> None:
    machine = tiny_machine("sigmoid")
    proposal = PROPOSALS[name](machine.model, machine.guide)
    scores = helm.log_likelihood(machine.model, proposal, DATA, num_samples=20_000)
    z = (scores.table.log_likelihood - machine.log_evidence(DATA).detach().numpy()) / scores.table.stderr
    assert z.abs().max() < 4  # z-threshold
    assert scores.summary.warnings.item() == ""


def test_a_guide_that_misses_a_mode_is_mended_by_a_defensive_mixture() -> None:
    machine = tiny_machine("sigmoid")

    def one_sided(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pyro.sample("h1", dist.Bernoulli(torch.tensor([1.0, 0.5]).double()).to_event(1))
            pyro.sample("h2", dist.Bernoulli(torch.tensor([0.5, 0.5]).double()).to_event(1))

    alone = helm.log_likelihood(machine.model, one_sided, DATA, num_samples=1000)
    assert "probability zero" in alone.summary.warnings.item()
    mended = helm.log_likelihood(machine.model, mixed_with_prior(machine.model, one_sided), DATA, num_samples=20_000)
    z = (mended.table.log_likelihood - machine.log_evidence(DATA).detach().numpy()) / mended.table.stderr
    assert z.abs().max() < 4  # z-threshold


def test_a_tempered_guide_is_flatter() -> None:
    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("kind", dist.Categorical(logits=torch.tensor([0.0, 3.0])))

    trace = pyro.poutine.trace(tempered(guide, temperature=3.0)).get_trace(observations={})
    probs = trace.nodes["kind"]["fn"].probs
    assert torch.allclose(probs[..., 1] / probs[..., 0], torch.tensor(1.0).exp())


def test_what_cannot_be_made_is_refused() -> None:
    machine = tiny_machine("sigmoid")
    with pytest.raises(ValueError, match="prior_weight must be between 0 and 1, got 1"):
        mixed_with_prior(machine.model, machine.guide, prior_weight=1)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        tempered(machine.guide, temperature=0)

    def gaussian(observations: dict[str, Tensor]) -> None:
        pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(TypeError, match="site 'z' is a Normal; only Bernoulli and Categorical"):
        tempered(gaussian, temperature=2.0)(observations={})
