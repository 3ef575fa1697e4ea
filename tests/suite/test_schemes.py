"""Every scheme with every model and guide of the suite, by enumeration; what it can't take it refuses in a sentence."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

import pyro_helm as helm
from tests.claims import CLAIMS, Claim, check, estimates, exact_gradient
from tests.suite.enumeration import (
    Enumerated,
    sleep,
)
from tests.suite.members import (
    GUIDES,
    MODELS,
    OWN_GUIDES,
    PAIRS,
    can_be_listed,
    every_pair,
    machine,
    observed,
    replicated,
)

REPLICATES = 600


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
    if hasattr(guide, "labels") and (CLAIMS[claim].needs_bernoulli or claim == "gibbs"):
        return "site 'class' .*is a PartlyKnown"
    if CLAIMS[claim].needs_bernoulli and (guide.recognition[0].blocks or guide.groups):
        return r"site 'h1' of the guide is a (Autoregressive|OneHotGroups)"
    if guide.groups and claim == "gibbs":
        return "site 'h1' is a OneHotGroups"
    is_one_hot = guide.groups or hasattr(guide, "labels")
    return "uniform distribution over finitely many values" if is_one_hot and "defensive" in claim else None


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


@pytest.mark.parametrize("groups", [None, {"h1": (3, 2)}])
def test_a_guide_of_other_groups_is_refused(groups: Any) -> None:
    model, guide = MODELS["quantiser"](), helm.FactorialRecognition((2, 5), groups=groups)
    with pytest.raises(ValueError, match="the guide must draw values that the model's distribution has"):
        helm.VIMCO(2).loss(model, guide, observations=observed(model))


@pytest.mark.parametrize("scheme", [helm.MeanField(), helm.ExactMeanField()], ids=lambda scheme: scheme.name)
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gaussian", "site 'x' is gaussian"),
        ("categorical", "site 'x' is categorical"),
        ("a class", "site 'x' is tests.suite.members:StudentT"),
        ("lateral", "site 'x' has lateral connections"),
        ("skip", "site 'x' has skip connections"),
        ("condition", "site 'x' is conditioned on a label"),
        ("labelled", "got a LabelledBeliefNetwork and a LabelledRecognition"),
        ("quantiser", "site 'x' is gaussian"),
    ],
)
def test_means_are_passed_through_plain_binary_layers_alone(name: str, found: str, scheme: helm.Scheme) -> None:
    model = MODELS[name]()
    guide = OWN_GUIDES.get(name, GUIDES["factorial"])(model.sizes)
    with pytest.raises(TypeError, match=re.escape(found)):
        scheme.loss(model, guide, observations={"x": observed(model)["x"]})
