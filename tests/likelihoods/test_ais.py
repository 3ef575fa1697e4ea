"""Annealed importance sampling: unbiased forwards and backwards, close where importance sampling is not."""

from __future__ import annotations

import pyro
import pytest
import torch

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods.ais import annealed_importance_sampling, reverse_ais
from pyro_helm.likelihoods.exact import exact_log_likelihood
from pyro_helm.likelihoods.gap import dream
from pyro_helm.models import BeliefNetwork
from tests.checker import DATA, replicates, tiny_machine
from tests.oracle import IMAGING

REPLICATES = 2000


@pytest.mark.parametrize("imaging", IMAGING)
@pytest.mark.parametrize("start", ["guide", "prior"])
@pytest.mark.parametrize("schedule", [1, [0, 0.2, 0.7, 1]])
def test_weights_are_unbiased_for_the_evidence(imaging: str, start: str, schedule: int | list[float]) -> None:
    machine = tiny_machine(imaging)
    model, guide = replicates(machine, REPLICATES)
    pyro.set_rng_seed(0)
    estimate = annealed_importance_sampling(
        model, guide, DATA, num_chains=3, schedule=schedule, start=start, draws_at_once=10**6
    )
    likelihood = estimate.log_likelihood.exp()
    z = (likelihood.mean(0) - machine.log_evidence(DATA).detach().exp()) / (likelihood.std(0) / REPLICATES**0.5)
    assert float(z.abs().max()) < 4  # z-threshold


@pytest.mark.parametrize("imaging", IMAGING)
@pytest.mark.parametrize("start", ["guide", "prior"])
def test_backwards_they_are_unbiased_for_its_inverse(imaging: str, start: str) -> None:
    machine = tiny_machine(imaging)
    model, guide = replicates(machine, REPLICATES)
    pyro.set_rng_seed(0)
    with torch.no_grad():
        units = dream(model, 3)
        upper = reverse_ais(model, guide, units, num_chains=2, schedule=4, start=start, draws_at_once=10**6)
        truth = machine.log_evidence(units[0].reshape(-1, 3)).reshape(REPLICATES, 3)
    ratio = (truth - upper).exp().flatten()
    z = (ratio.mean() - 1) / (ratio.std() / len(ratio) ** 0.5)
    assert abs(float(z)) < 4  # z-threshold
    assert float((upper - truth).mean()) > 0


@pytest.mark.parametrize("at_once", [20, 200])
def test_chunks_of_chains_and_data_change_nothing_but_the_draws(at_once: int) -> None:
    machine = tiny_machine("noisy_or")
    pyro.set_rng_seed(0)
    estimate = annealed_importance_sampling(
        machine.model, machine.guide, DATA.repeat(5, 1), num_chains=20, schedule=20, draws_at_once=at_once
    )
    truth = machine.log_evidence(DATA).detach().repeat(5)
    assert estimate.log_likelihood.shape == (1, 15)
    assert float(((estimate.log_likelihood - truth) / estimate.stderr).abs().max()) < 4  # z-threshold


def test_a_poor_guide_is_noticed_by_importance_sampling_and_overcome_by_annealing() -> None:
    """20 hidden units, an untrained guide: words from the one, 0.05 nats from the other."""
    model, guide = BeliefNetwork((30, 14, 6), seed=0).double(), FactorialRecognition((30, 14, 6), seed=0).double()
    with torch.no_grad():
        for layer in list(model.generative)[:2]:
            layer.weight_unconstrained.mul_(8)
        torch.manual_seed(0)
        x = dream(model, 5)[0][0]
    truth = exact_log_likelihood(model, x)[0].detach()
    poor = helm.log_likelihood(model, guide, x, num_samples=200)
    assert "use more samples, a better or a defensive guide" in poor.summary.warnings.item()
    assert abs(poor.summary.log_likelihood.item() - float(truth.mean())) > 0.5
    good = helm.log_likelihood(model, guide, x, method="ais", num_chains=16, schedule=500)
    assert good.summary.log_likelihood.item() == pytest.approx(float(truth.mean()), abs=0.05)
    assert good.summary.warnings.item() == ""


def test_short_chains_are_not_believed() -> None:
    model, guide = BeliefNetwork((30, 14, 6), seed=0), FactorialRecognition((30, 14, 6), seed=0)
    with torch.no_grad():
        model.generative[0].weight_unconstrained.mul_(20)
        torch.manual_seed(0)
        x = dream(model, 20)[0][0]
    scores = helm.log_likelihood(model, guide, x, method="ais", num_chains=16, schedule=2)
    assert "use a longer schedule or more chains" in scores.summary.warnings.item()


def test_what_cannot_be_annealed_is_refused() -> None:
    machine = tiny_machine("sigmoid")
    with pytest.raises(ValueError, match="start must be guide or prior, got 'x'"):
        annealed_importance_sampling(machine.model, machine.guide, DATA, start="x")
    with pytest.raises(ValueError, match="num_chains must be at least 1, got 0"):
        annealed_importance_sampling(machine.model, machine.guide, DATA, num_chains=0)
    with pytest.raises(TypeError, match="anneals the layers of a BeliefNetwork, got a function"):
        annealed_importance_sampling(lambda observations: None, machine.guide, DATA)
    with pytest.raises(
        TypeError,
        match='without a trunk, got NoneType; use start="prior"',
    ):
        annealed_importance_sampling(machine.model, None, DATA)
