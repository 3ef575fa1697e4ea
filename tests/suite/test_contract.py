"""What every model and guide of the suite shares; a new one is one line in members.py."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

import pyro_helm as helm
from pyro_helm.likelihoods.ais import annealed_importance_sampling
from pyro_helm.likelihoods.exact import exact_log_likelihood
from pyro_helm.programs.layered import site_names
from pyro_helm.programs.particles import draw_from_guide, score
from tests.checker import Z_THRESHOLD, z_scores
from tests.claims import CLAIMS, Claim, check, estimates, exact_gradient
from tests.suite.enumeration import (
    Enumerated,
    every_x,
    hidden_states,
    log_guide,
    log_joint,
    log_prior,
    sleep,
    visible_means,
)
from tests.suite.members import (
    GUIDES,
    MODELS,
    OWN_GUIDES,
    PAIRS,
    far_from_the_start,
    learns_alone,
    observed,
    replicated,
    restart_of,
)

REPLICATES = 600
CAPTURED = helm.VIMCO(2)

every_pair = pytest.mark.parametrize("pair", PAIRS)
every_model = pytest.mark.parametrize("name", MODELS)


@cache
def machine(pair: str) -> tuple[Any, Any, dict[str, Tensor]]:
    """A model and guide of one restart, far from their start, and observations."""
    make_model, make_guide = PAIRS[pair]
    model = far_from_the_start(make_model())
    return model, far_from_the_start(make_guide(make_model.sizes)), observed(model)


def can_be_listed(model: Any) -> bool:
    return model.imaging[0] in ("sigmoid", "noisy_or", "odds", "categorical")


# --- programs -----------------------------------------------------------------------------------------------------


@every_pair
def test_sites_score_as_the_equations(pair: str) -> None:
    model, guide, observations = machine(pair)
    states = hidden_states(model)
    values = {name: layer[:, None, None] for name, layer in zip(site_names(model.sizes)[1:], states, strict=True)}
    for program, expected in ((model, log_joint), (guide, log_guide)):
        found = score(program, values, kwargs={"observations": observations}).log_joint[:, 0]
        assert torch.allclose(found.T, expected(program, observations), rtol=1e-9, atol=1e-12)


@every_model
def test_dreams_follow_the_model(name: str) -> None:
    """Hidden states by their frequencies, and the visible layer too, where its rows can be listed."""
    model, number = far_from_the_start(MODELS[name]()), 20_000
    pyro.set_rng_seed(0)
    given = {} if model.condition is None else {"label": torch.ones(number)}
    trace = poutine.trace(model).get_trace(given, num_data=number)
    x = trace.nodes["x"]["value"].detach()
    hidden = torch.cat([trace.nodes[name]["value"] for name in site_names(model.sizes)[1:]], -1)
    check_frequencies(hidden, torch.cat(hidden_states(model), -1), log_prior(model, label=1).exp())
    if can_be_listed(model):
        rows = every_x(model)
        observations = {name: label[: len(rows)].long() for name, label in given.items()} | {"x": rows}
        check_frequencies(x, rows, log_joint(model, observations).exp().sum(-1))
    else:
        mean = (log_prior(model).exp() @ visible_means(model)).detach()
        assert float(z_scores(x, mean).abs().max()) < Z_THRESHOLD


def check_frequencies(drawn: Tensor, rows: Tensor, chances: Tensor) -> None:
    is_row = (drawn[:, None] == rows).all(-1).double()
    assert bool((is_row.sum(-1) == 1).all())
    assert float(z_scores(is_row, chances.detach()).abs().max()) < Z_THRESHOLD


@every_pair
@pytest.mark.parametrize("restarts", [1, 3])
def test_shapes_are_particles_restarts_data(pair: str, restarts: int) -> None:
    make_model, make_guide = PAIRS[pair]
    model, guide = make_model(restarts), make_guide(make_model.sizes, restarts)
    observations = observed(model)
    assert observations["x"].shape == ((3,) if restarts > 1 else ()) + (3, make_model.sizes[0])
    particles = draw_from_guide(model, guide, 4, kwargs={"observations": observations})
    assert particles.log_weight.shape == (4, restarts, 3)


@every_pair
def test_restarts_are_single_machines_side_by_side(pair: str) -> None:
    """Values and gradients, by a scheme that does not sample."""
    make_model, make_guide = PAIRS[pair]
    model = far_from_the_start(make_model(3))
    guide = far_from_the_start(make_guide(make_model.sizes, 3))
    observations = observed(machine(pair)[0])
    losses, gradients = estimates(helm.ExactEM(), model, guide, observations)
    for number in range(3):
        one = restart_of(model, make_model(), number), restart_of(guide, make_guide(make_model.sizes), number)
        (loss,), expected = estimates(helm.ExactEM(), *one, observations)
        assert float(losses[number]) == pytest.approx(float(loss), rel=1e-9)
        for name, gradient in expected.items():
            assert torch.allclose(gradients[name][number], gradient[0], rtol=1e-8, atol=1e-10), name


@every_pair
def test_captured_steps_are_the_eager_ones(pair: str) -> None:
    make_model, make_guide = PAIRS[pair]
    data = observed(make_model(), 12)
    trained = []
    for step in ("eager", "captured"):
        model, guide = make_model(2), make_guide(make_model.sizes, 2)
        helm.fit(model, guide, data, scheme=CAPTURED, num_epochs=5, batch_size=None, step=step, seed=0, progress=False)
        trained.append([*model.parameters(), *guide.parameters()])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*trained, strict=True))


@every_pair
def test_files_hold_all_of_a_machine(pair: str, tmp_path: Path) -> None:
    model, guide, observations = machine(pair)
    helm.save(tmp_path, model, guide)
    loaded = helm.load(tmp_path, guide=None if learns_alone(guide) else PAIRS[pair][1](model.sizes).double())
    for ours, theirs in zip((model, guide), loaded, strict=True):
        assert ours.config == theirs.config
        assert type(ours) is type(theirs)
    again = Enumerated(*loaded, observations)
    assert torch.equal(again.log_p, Enumerated(model, guide, observations).log_p)
    assert torch.equal(draws(*loaded, observations), draws(model, guide, observations))


def draws(model: Any, guide: Any, observations: dict[str, Tensor]) -> Tensor:
    pyro.set_rng_seed(0)
    return draw_from_guide(model, guide, 2, kwargs={"observations": observations}).log_weight.detach()


# --- schemes ------------------------------------------------------------------------------------------------------


@every_pair
@pytest.mark.parametrize("claim", CLAIMS)
def test_every_scheme_follows_what_it_claims(pair: str, claim: str) -> None:
    """Value and mean gradient by enumeration; a scheme that can't take a guide says so."""
    model, guide, observations = machine(pair)
    make_model, make_guide = PAIRS[pair]
    many = replicated(model, make_model(REPLICATES)), replicated(guide, make_guide(make_model.sizes, REPLICATES))
    exact, said = Enumerated(model, guide, observations), CLAIMS[claim]
    if claim == "wake_sleep" and can_be_listed(model):
        said = with_sleep(said, model, guide, observations)
    if refusal := refused(claim, guide):
        with pytest.raises((TypeError, ValueError), match=refusal):
            estimates(said.scheme, *many, observations)
        return
    expected = exact_gradient(-said.objective(exact), model, guide)
    check(said, -said.value(exact).detach(), expected, *estimates(said.scheme, *many, observations))


def refused(claim: str, guide: Any) -> str | None:
    """What a scheme says of a guide that it can't take."""
    if CLAIMS[claim].needs_bernoulli and (guide.recognition[0].blocks or guide.groups):
        return r"site 'h1' of the guide is a (Autoregressive|OneHotGroups)"
    if guide.groups and claim == "gibbs":
        return "site 'h1' is a OneHotGroups"
    return "uniform distribution over finitely many values" if guide.groups and "defensive" in claim else None


def with_sleep(claim: Claim, model: Any, guide: Any, observations: dict[str, Tensor]) -> Claim:
    """What the sleep phase follows too."""

    def objective(exact: Any) -> Tensor:
        wake: Tensor = (exact.log_q.exp().detach() * exact.log_p).sum()
        return wake + sleep(model, guide, observations)

    return replace(claim, objective=objective, of=("model", "guide"))


@every_pair
def test_gibbs_of_single_units_leaves_the_posterior(pair: str) -> None:
    model, guide, observations = machine(pair)
    make_model, make_guide = PAIRS[pair]
    many = replicated(model, make_model(REPLICATES)), replicated(guide, make_guide(make_model.sizes, REPLICATES))
    if refusal := refused("gibbs", guide):
        with pytest.raises(TypeError, match=refusal):
            estimates(helm.Gibbs(2), *many, observations)
        return
    exact, claim = Enumerated(model, guide, observations), CLAIMS["gibbs"]
    expected = exact_gradient(-claim.objective(exact), model, guide)
    scheme = helm.Gibbs(2, num_sweeps=20)
    check(claim, -claim.value(exact).detach(), expected, *estimates(scheme, *many, observations))


# --- likelihoods --------------------------------------------------------------------------------------------------


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
    if model.condition is not None or not model.has_binary_causes:
        with pytest.raises(TypeError, match=r"anneals binary hidden layers alone, got (a condition|categorical)"):
            annealed_importance_sampling(model, guide, observations["x"], start=start)
        return
    if start == "guide" and guide.trunk is not None:
        with pytest.raises(TypeError, match="without a trunk, got one with a trunk; use start="):
            annealed_importance_sampling(model, guide, observations["x"])
        return
    pyro.set_rng_seed(0)
    number = 2000
    found = annealed_importance_sampling(
        model, guide, observations["x"], num_chains=number, schedule=10, start=start, draws_at_once=10**6
    )
    z = (found.log_likelihood[0] - expected.detach()) / found.stderr[0]
    assert float(z.abs().max()) < Z_THRESHOLD


@every_pair
def test_the_posterior_is_bayes_rule(pair: str) -> None:
    model, guide, observations = machine(pair)
    exact = Enumerated(model, guide, observations)
    found = helm.exact_posterior(model, guide, observations)
    posterior = exact.log_p.log_softmax(-1)
    assert torch.allclose(found.log_likelihood[0], exact.log_p.logsumexp(-1), rtol=1e-9)
    assert found.kl is not None
    assert torch.allclose(found.kl[0], (exact.log_q.exp() * (exact.log_q - posterior)).sum(-1), rtol=1e-8, atol=1e-10)
    means = torch.cat([found.marginals[name][0] for name in site_names(model.sizes)[1:]], -1)
    assert torch.allclose(means, posterior.exp() @ torch.cat(hidden_states(model), -1), rtol=1e-8)


@pytest.mark.parametrize("groups", [None, {"h1": (3, 2)}])
def test_a_guide_of_other_groups_is_refused(groups: Any) -> None:
    model, guide = MODELS["quantiser"](), helm.FactorialRecognition((2, 5), groups=groups)
    with pytest.raises(ValueError, match="the guide must draw values that the model's distribution has"):
        helm.VIMCO(2).loss(model, guide, observations=observed(model))


@pytest.mark.parametrize("scheme", [helm.MeanField(), helm.ExactMeanField()], ids=lambda scheme: scheme.name)
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gaussian", "'x' of the model is gaussian"),
        ("categorical", "'x' of the model is categorical"),
        ("a class", "'x' of the model is tests.suite.members:StudentT"),
        ("lateral", "'x' of the model has lateral connections"),
        ("skip", "'x' of the model has skip connections"),
        ("condition", "'x' of the model is conditioned on a label"),
        ("quantiser", "'x' of the model is gaussian"),
    ],
)
def test_means_are_passed_through_plain_binary_layers_alone(name: str, found: str, scheme: helm.Scheme) -> None:
    model = MODELS[name]()
    guide = OWN_GUIDES.get(name, GUIDES["factorial"])(model.sizes)
    with pytest.raises(TypeError, match=re.escape(found)):
        scheme.loss(model, guide, observations={"x": observed(model)["x"]})
