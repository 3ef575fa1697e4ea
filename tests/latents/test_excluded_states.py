"""Guides that exclude states of the posterior are found out on the data, and only they."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.latents.excluded_states import states_missed
from pyro_helm.likelihoods import mixed_with_prior
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.particles import Program
from tests.checker import DATA, tiny_machine

X = torch.ones(4, 8)


def rare_cause(observed: str = "x", probs: float = 1e-5) -> Program:
    """A cause that is rare and explains the data: its posterior probability is about 1."""

    def model(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.tensor(probs)))
            on = torch.where(h[..., None] == 1, torch.tensor(0.999), torch.tensor(0.001)) * torch.ones(8)
            pyro.sample(observed, dist.Bernoulli(on).to_event(1), obs=observations["x"])

    return model


def guide_of(fn: Any) -> Program:
    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            pyro.sample("h", fn)

    return guide


@pytest.mark.parametrize("observed", ["x", "pixels"])
@pytest.mark.parametrize("fn", [dist.Bernoulli(torch.tensor(0.0)), dist.Delta(torch.tensor(0.0))])
def test_a_rare_cause_that_explains_the_data_is_missed(observed: str, fn: Any) -> None:
    model = rare_cause(observed)
    exact = helm.log_likelihood(model, None, X, method="exact")
    assert exact.summary.log_likelihood.item() == pytest.approx(-11.52, abs=0.01)
    scores = helm.log_likelihood(model, guide_of(fn), X, num_samples=100)
    assert "on 4 of 4 data the guide gives probability zero to states" in scores.summary.warnings.item()
    assert scores.table.drop(columns=["restart", "datum"]).isna().all(axis=None)
    assert scores.summary.log_likelihood.isna().item()


def test_what_has_no_posterior_mass_may_be_excluded() -> None:
    impossible = helm.log_likelihood(rare_cause(probs=0.0), guide_of(dist.Bernoulli(torch.tensor(0.0))), X)
    assert impossible.summary.warnings.item() == ""
    certain = guide_of(dist.Bernoulli(logits=torch.tensor(-30.0)))  # unlikely is not impossible
    assert not states_missed(rare_cause(), certain, X).any()

    def copied(observations: dict[str, Tensor]) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-2], dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.full((2,), 0.5)).to_event(1))
            pyro.sample("x", dist.Bernoulli(h).to_event(1), obs=x)

    def perfect(observations: dict[str, Tensor]) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-2], dim=-1):
            pyro.sample("h", dist.Bernoulli(x).to_event(1))

    x = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    scores = helm.log_likelihood(copied, perfect, x, num_samples=20)
    assert scores.summary.warnings.item() == ""
    assert scores.summary.log_likelihood.item() == pytest.approx(2 * torch.tensor(0.5).log().item(), abs=1e-5)


def test_only_the_data_concerned_lose_their_number() -> None:
    def guide(observations: dict[str, Tensor]) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-2], dim=-1):
            pyro.sample("h", dist.Bernoulli(0.5 * x[:, 0]))

    x = torch.cat([torch.ones(3, 8), torch.zeros(2, 8)])
    scores = helm.log_likelihood(rare_cause(), guide, x, num_samples=100)
    assert scores.table.log_likelihood.isna().tolist() == [False] * 3 + [True] * 2
    assert scores.table.elbo.isna().tolist() == [False] * 3 + [True] * 2
    assert "on 2 of 5 data" in scores.summary.warnings.item()


@pytest.mark.parametrize("element", [0, 1])
def test_one_unit_of_a_layer_is_enough(element: int) -> None:
    machine = tiny_machine("sigmoid")
    probs = torch.tensor([0.5, 0.5]).double()
    probs[element] = 1.0

    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            pyro.sample("h1", dist.Bernoulli(probs).to_event(1))
            pyro.sample("h2", dist.Bernoulli(torch.tensor([0.5, 0.5]).double()).to_event(1))

    assert states_missed(machine.model, guide, DATA, draws_at_once=10).tolist() == [[True] * 3]
    assert not states_missed(machine.model, machine.guide, DATA).any()


def test_a_category_that_is_never_proposed_is_found_and_mended_by_a_mixture() -> None:
    def model(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            topic = pyro.sample("topic", dist.Categorical(torch.tensor([0.5, 0.3, 0.2])))
            logits = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [1.0, 2.0]])[topic]
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=observations["x"])

    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            pyro.sample("topic", dist.Categorical(torch.tensor([0.0, 0.5, 0.5])))

    x = torch.ones(4, 2)
    scores = helm.log_likelihood(model, guide, x, num_samples=20)
    assert "probability zero" in scores.summary.warnings.item()
    mended = helm.log_likelihood(model, mixed_with_prior(model, guide), x, num_samples=20_000)
    exact = helm.log_likelihood(model, None, x, method="exact")
    assert mended.summary.log_likelihood.item() == pytest.approx(exact.summary.log_likelihood.item(), abs=0.05)


def test_restarts_are_judged_apart() -> None:
    model = BeliefNetwork((3, 2, 2), restarts=2, seed=0)
    probs = torch.full((2, 1, 2), 0.5)
    probs[1, 0, 1] = 0.0

    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("restarts", 2, dim=-2), pyro.plate("data", observations["x"].shape[-2], dim=-1):
            pyro.sample("h1", dist.Bernoulli(probs).to_event(1))
            pyro.sample("h2", dist.Bernoulli(torch.full((2,), 0.5)).to_event(1))

    scores = helm.log_likelihood(model, guide, DATA, num_samples=20)
    assert scores.summary.log_likelihood.isna().tolist() == [False, True]
    assert ["probability zero" in words for words in scores.summary.warnings] == [False, True]


def test_deterministic_and_masked_sites_and_factors_change_nothing() -> None:
    def model(observations: dict[str, Tensor]) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-2], dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.full((2,), 0.5)).to_event(1))
            pyro.deterministic("number", h.sum(-1))
            pyro.factor("cost", -h.sum(-1))
            with pyro.poutine.mask(mask=torch.zeros(len(x), dtype=torch.bool)):
                pyro.sample("missing", dist.Bernoulli(torch.zeros(2)).to_event(1), obs=torch.ones(len(x), 2))
            pyro.sample("x", dist.Bernoulli(logits=h).to_event(1), obs=x)

    x = torch.ones(3, 2)
    for probs, expected in (([0.5, 0.5], False), ([0.5, 1.0], True)):
        guide = guide_of(dist.Bernoulli(torch.tensor(probs)).to_event(1))
        assert states_missed(model, guide, x).tolist() == [[expected] * 3]
