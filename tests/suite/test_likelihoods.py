"""Likelihoods and posteriors of every model and guide of the suite, by the sum over all states."""

from __future__ import annotations

from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.likelihoods.ais import annealed_importance_sampling
from pyro_helm.likelihoods.exact import exact_log_likelihood
from pyro_helm.programs.packed import as_rows
from tests.checker import Z_THRESHOLD
from tests.claims import CLAIMS, check, estimates, exact_gradient
from tests.suite.enumeration import (
    Enumerated,
    hidden_states,
    latent_names,
    log_joint,
)
from tests.suite.members import (
    MODELS,
    PAIRS,
    every_model,
    every_pair,
    far_from_the_start,
    machine,
    observed,
    replicated,
)

REPLICATES = 600


@every_pair
def test_missing_values_are_left_out_and_seen_as_missing(pair: str) -> None:
    model, guide, observations = machine(pair)
    make_model, make_guide = PAIRS[pair]
    x = observations["x"].masked_fill(torch.arange(3)[:, None] == torch.arange(make_model.sizes[0]), torch.nan)
    if model.generative[0].blocks:
        with pytest.raises(ValueError, match="depend on each other, so that missing values"):
            exact_evidence(model, {"x": x})
        with pytest.raises(ValueError, match="depend on each other, so that missing values"):
            model({"x": x})
        return
    observations = observations | {"x": x}
    exact, claim = Enumerated(model, guide, observations), CLAIMS["reweighted_wake_sleep"]
    assert torch.allclose(exact_evidence(model, observations), exact.log_p.logsumexp(-1), rtol=1e-9)
    many = replicated(model, make_model(REPLICATES)), replicated(guide, make_guide(make_model.sizes, REPLICATES))
    expected = exact_gradient(-claim.objective(exact), model, guide)
    check(claim, -claim.value(exact).detach(), expected, *estimates(claim.scheme, *many, observations))


@every_model
def test_the_exact_log_likelihood_is_the_sum_over_all_states(name: str) -> None:
    model = far_from_the_start(MODELS[name]())
    observations = observed(model, 5)
    expected = log_joint(model, observations).logsumexp(-1)
    for terms in (2**22, 7):
        assert torch.allclose(exact_evidence(model, observations, terms_at_once=terms), expected, rtol=1e-10)


def exact_evidence(model: Any, observations: dict[str, Tensor], **settings: Any) -> Tensor:
    """log p(x), [data]; with a label by the posterior, which takes observations by name."""
    if model.condition is None:
        return exact_log_likelihood(model, observations["x"], **settings)[0]
    return helm.exact_posterior(model, None, observations, **settings).log_likelihood[0]


@every_pair
@pytest.mark.parametrize("start", ["guide", "prior"])
def test_annealing_finds_the_log_likelihood(pair: str, start: str) -> None:
    model, guide, observations = machine(pair)
    expected = log_joint(model, observations).logsumexp(-1)
    if hasattr(model, "labels") or not model.has_binary_causes:
        with pytest.raises(TypeError, match=r"anneals binary hidden layers alone, got (a latent label|categorical)"):
            annealed_importance_sampling(model, guide, observations["x"], start=start)
        return
    if start == "guide" and (guide.trunk is not None or hasattr(guide, "damping")):
        with pytest.raises(TypeError, match=r"without a trunk, got (one with a trunk|\w+Recognition); use start="):
            annealed_importance_sampling(model, guide, observations["x"])
        return
    pyro.set_rng_seed(0)
    number = 2000
    found = annealed_importance_sampling(
        *as_rows(model, guide, observations), num_chains=number, schedule=10, start=start, draws_at_once=10**6
    )
    z = (found.log_likelihood[0] - expected.detach()) / found.stderr[0]
    assert float(z.abs().max()) < Z_THRESHOLD


@pytest.mark.parametrize("start", ["guide", "prior"])
def test_annealing_takes_a_label_beside_missing_values(start: str) -> None:
    make_model, make_guide = PAIRS["condition, own"]
    model, guide = (far_from_the_start(each) for each in (make_model(2), make_guide(make_model.sizes, 2)))
    x = torch.tensor([[1, 0, 1], [torch.nan, 1, 0], [0, torch.nan, torch.nan], [1, 1, 1]], dtype=torch.float64)
    data = {"label": torch.tensor([2, 0, 1, 1]), "x": x}
    exact = helm.exact_posterior(model, guide, data).log_likelihood
    found = helm.log_likelihood(
        model, guide, data, method="ais", num_chains=2000, schedule=10, start=start, rows="independent"
    )
    z = (torch.tensor(found.table.log_likelihood).reshape(2, 4) - exact) / torch.tensor(found.table.stderr).reshape(
        2, 4
    )
    assert float(z.abs().max()) < Z_THRESHOLD


def test_annealing_a_condition_needs_a_guide_and_data_that_have_it() -> None:
    model, guide, observations = machine("condition, own")
    plain = helm.FactorialRecognition(model.sizes, seed=0).double()
    with pytest.raises(ValueError, match="the same condition, got condition=3 and None"):
        helm.log_likelihood(model, plain, observations, method="ais")
    with pytest.raises(ValueError, match='conditioned on one of 3 labels; give it the observation "label"'):
        helm.log_likelihood(model, guide, observations["x"], method="ais")
    with pytest.raises(TypeError, match="a model with a condition needs a label for each dream"):
        helm.log_likelihood_gap(model, guide)


@every_pair
def test_the_posterior_is_bayes_rule(pair: str) -> None:
    model, guide, observations = machine(pair)
    exact = Enumerated(model, guide, observations)
    found = helm.exact_posterior(model, guide, observations)
    posterior = exact.log_p.log_softmax(-1)
    assert torch.allclose(found.log_likelihood[0], exact.log_p.logsumexp(-1), rtol=1e-9)
    assert found.kl is not None
    assert torch.allclose(found.kl[0], (exact.log_q.exp() * (exact.log_q - posterior)).sum(-1), rtol=1e-8, atol=1e-10)
    means = torch.cat([found.marginals[name][0] for name in latent_names(model)], -1)
    assert torch.allclose(means, posterior.exp() @ torch.cat(hidden_states(model), -1), rtol=1e-8)
