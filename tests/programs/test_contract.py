"""Models and guides that can't be a pair are refused in a sentence, wherever they are used as one."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods import mixed_with_prior, prior
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.particles import Program
from pyro_helm.schemes import ExactEM, Gibbs, Relaxed, Scheme
from tests.claims import Claim, every_claim

X = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
HALF = torch.tensor(0.5)
Fn = Callable[[], dist.TorchDistribution]


def with_cause(fn: Fn) -> Program:
    """A model with one latent of a kind, ``h``."""

    def model(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 3, dim=-1):
            h = pyro.sample("h", fn())
            logits = torch.tensor([2.0, -1.0]) * h.reshape(*h.shape[: h.dim() - fn().event_dim], -1)[..., :1]
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=observations["x"])

    return model


def guide_of(fn: Fn) -> Program:
    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 3, dim=-1):
            pyro.sample("h", fn())

    return guide


def bernoulli() -> dist.TorchDistribution:
    return dist.Bernoulli(HALF)


model, guide = with_cause(bernoulli), guide_of(bernoulli)


def with_factor(observations: dict[str, Tensor]) -> None:
    guide(observations)
    with pyro.plate("data", 3, dim=-1):
        pyro.factor("preference", torch.tensor([0.5, 1.0, 2.0]))


def observing_more(observations: dict[str, Tensor]) -> None:
    guide(observations)
    with pyro.plate("data", 3, dim=-1):
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.zeros(3))


SWAPPED = "the guide observes site 'x', but a guide only samples"
IMPOSSIBLE: dict[str, tuple[Program, Program, str]] = {
    "swapped": (guide, model, SWAPPED),
    "a model that observes nothing": (guide, guide, "the model observes nothing, its sites are h; hand the data"),
    "a guide that observes": (model, observing_more, "the guide observes site 'y'"),
    "a factor in the guide": (
        model,
        with_factor,
        "the guide has a factor 'preference', so its draws would not follow the distribution",
    ),
    "another event": (
        with_cause(lambda: dist.Bernoulli(torch.full((2,), 0.5)).to_event(1)),
        guide_of(lambda: dist.Bernoulli(torch.full((1,), 0.5)).to_event(1)),
        "site 'h' has events of shape [1] in the guide and [2] in the model",
    ),
}


@every_claim
@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_schemes_refuse_what_is_no_pair(claim: Claim, name: str) -> None:
    a_model, a_guide, sentence = IMPOSSIBLE[name]
    with pytest.raises(ValueError, match=re.escape(sentence)):
        claim.scheme.loss(a_model, a_guide, observations={"x": X})


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_estimates_and_posteriors_refuse_what_is_no_pair(name: str) -> None:
    a_model, a_guide, sentence = IMPOSSIBLE[name]
    if name == "swapped":  # what is found first: the data belong to the model
        sentence = "the model observes nothing"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        helm.log_likelihood(a_model, a_guide, X)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        helm.exact_posterior(a_model, a_guide, X)


def test_the_gap_refuses_a_guide_that_is_none() -> None:
    network = BeliefNetwork((2, 1), seed=0)

    def factor(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 4, dim=-1):
            pyro.sample("h1", dist.Bernoulli(torch.full((1,), 0.5)).to_event(1))
            pyro.factor("preference", torch.ones(4))

    settings = {"num_data": 4, "num_samples": 10, "schedule": 5}
    with pytest.raises(ValueError, match="the guide has a factor 'preference'"):
        helm.log_likelihood_gap(network, factor, start="prior", **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the guide observes site 'x'"):
        helm.log_likelihood_gap(network, network, start="prior", **settings)  # type: ignore[arg-type]


def test_a_mixture_with_a_guide_of_a_factor_is_refused() -> None:
    with pytest.raises(ValueError, match="the guide has a factor 'preference'"):
        helm.log_likelihood(model, mixed_with_prior(model, with_factor), X)


@pytest.mark.parametrize("method", ["exact", "importance"])
def test_a_networks_guide_in_its_place_is_refused(method: str) -> None:
    network, recognition = BeliefNetwork((2, 1), seed=0), FactorialRecognition((2, 1), seed=0)
    with pytest.raises(ValueError, match=r"the model observes nothing, its sites are .*h1; .* if they were swapped"):
        helm.log_likelihood(recognition, network, X, method=method)
    with pytest.raises(ValueError, match="the model observes nothing"):
        helm.exact_posterior(recognition, network, X)


@pytest.mark.parametrize("scheme", [Gibbs(1), ExactEM()], ids=lambda scheme: scheme.name)
def test_without_a_guide_a_model_has_to_observe_as_well(scheme: Scheme) -> None:
    with pytest.raises(ValueError, match=r"the model (observes nothing|has no observed site)"):
        scheme.loss(guide, None, observations={"x": X})


@every_claim
def test_fit_refuses_a_machine_the_wrong_way_round(claim: Claim) -> None:
    network, recognition = BeliefNetwork((2, 1), seed=0), FactorialRecognition((2, 1), seed=0)
    with pytest.raises(ValueError, match="the guide second if they were swapped"):
        helm.fit(recognition, network, X, scheme=claim.scheme, num_epochs=1, progress=False)


OTHER_VALUES: dict[str, tuple[Fn, Fn, str]] = {
    "relaxed": (
        bernoulli,
        lambda: dist.RelaxedBernoulli(HALF, probs=HALF),
        "site 'h' is a RelaxedBernoulli on Interval(lower_bound=0.0, upper_bound=1.0) in the guide, but a Bernoulli of "
        "2 values in the model",
    ),
    "normal for binary": (bernoulli, lambda: dist.Normal(HALF, 1.0), "is a Normal on Real() in the guide, but a Ber"),
    "more categories": (
        lambda: dist.Categorical(torch.ones(2)),
        lambda: dist.Categorical(torch.ones(3)),
        "is a Categorical of 3 values in the guide, but a Categorical of 2 values in the model",
    ),
    "fewer categories": (
        lambda: dist.Categorical(torch.ones(4)),
        lambda: dist.Categorical(torch.ones(3)),
        "is a Categorical of 3 values in the guide, but a Categorical of 4 values in the model",
    ),
    "a category for a bit": (bernoulli, lambda: dist.Categorical(torch.ones(2)), "but a Bernoulli of 2 values in"),
    "an interval for a line": (
        lambda: dist.Normal(HALF, 1.0),
        lambda: dist.Beta(HALF, 1.0),
        "is a Beta on Interval(lower_bound=0.0, upper_bound=1.0) in the guide, but a Normal on Real() in the model",
    ),
    "a line for an interval": (lambda: dist.Gamma(HALF, 1.0), lambda: dist.Normal(HALF, 1.0), "is a Normal on Real()"),
    "a larger count": (lambda: dist.Binomial(3, HALF), lambda: dist.Poisson(HALF), "is a Poisson on"),
}
SAME_VALUES: dict[str, tuple[Fn, Fn]] = {
    "logits for probabilities": (bernoulli, lambda: dist.Bernoulli(logits=HALF)),
    "another law of a line": (lambda: dist.Normal(HALF, 1.0), lambda: dist.StudentT(3.0)),
    "up to an end": (lambda: dist.Exponential(HALF), lambda: dist.LogNormal(HALF, 1.0)),
    "all of an interval": (lambda: dist.Uniform(HALF - 0.5, 1.0), lambda: dist.Beta(HALF, HALF)),
    "other kinds of counts": (lambda: dist.Poisson(HALF), lambda: dist.Geometric(HALF)),
    "a vector at once": (
        lambda: dist.Normal(torch.zeros(2), 1.0).to_event(1),
        lambda: dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
    ),
}
SAMPLING = [
    helm.Reinforce(2),
    helm.VIMCO(2),
    helm.NVIL(2),
    helm.TVO(2),
    helm.WakeSleep(2),
    helm.ReweightedWakeSleep(2),
    helm.MemoisedWakeSleep(2),
    helm.JointStochasticApproximation(2),
]


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_guide_that_draws_other_values_than_the_models_is_refused(name: str) -> None:
    ours, theirs, sentence = OTHER_VALUES[name]
    a_model, a_guide = with_cause(ours), guide_of(theirs)
    for scheme in SAMPLING:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            scheme.loss(a_model, a_guide, observations={"x": X})
    with pytest.raises(ValueError, match=re.escape(sentence)):
        helm.log_likelihood(a_model, a_guide, X)


@pytest.mark.parametrize("name", SAME_VALUES)
def test_another_distribution_of_the_same_values_is_taken(name: str) -> None:
    ours, theirs = SAME_VALUES[name]
    scores = helm.log_likelihood(with_cause(ours), guide_of(theirs), X, num_samples=50)
    assert scores.table.log_likelihood.notna().all()


def test_only_the_relaxed_scheme_knows_what_to_do_with_a_relaxed_site() -> None:
    relaxed = guide_of(lambda: dist.RelaxedBernoulli(HALF, probs=HALF))
    assert Relaxed(2).loss(model, relaxed, observations={"x": X}) > 0
    with pytest.raises(ValueError, match="is a Normal on Real"):
        Relaxed(2).loss(model, guide_of(lambda: dist.Normal(HALF, 1.0)), observations={"x": X})


def test_a_point_is_no_proposal_for_a_density() -> None:
    a_model = with_cause(lambda: dist.Normal(HALF, 1.0))
    with pytest.raises(
        ValueError, match=r"'h' is a single point in the guide, but a Normal on .*weights are undefined"
    ):
        helm.log_likelihood(a_model, guide_of(lambda: dist.Delta(HALF.expand(3))), X)
    moved = mixed_with_prior(a_model, guide_of(lambda: dist.Normal(HALF, 2.0)))  # made of points with their density
    assert helm.log_likelihood(a_model, moved, X, num_samples=100).table.log_likelihood.notna().all()


def test_a_factor_in_the_model_counts_in_every_number() -> None:
    """With a factor f of each datum log p(x) is raised by f, in sums and samples, and with draws from the prior."""

    def preferred(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 3, dim=-1):
            h = pyro.sample("h", bernoulli())
            pyro.factor("preference", torch.tensor([0.5, 1.0, 2.0]))
            logits = torch.tensor([2.0, -1.0]) * h[..., None]
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=observations["x"])

    plain = helm.log_likelihood(model, None, X, method="exact").table.log_likelihood
    truth = plain + torch.tensor([0.5, 1.0, 2.0]).numpy()
    assert helm.log_likelihood(preferred, None, X, method="exact").table.log_likelihood.to_numpy() == pytest.approx(
        truth.to_numpy()
    )
    for proposal in (guide, prior(preferred), mixed_with_prior(preferred, guide)):
        found = helm.log_likelihood(preferred, proposal, X, num_samples=5000).table
        assert ((found.log_likelihood - truth) / found.stderr).abs().max() < 4  # z-threshold
    posterior = helm.exact_posterior(preferred, guide, X)
    assert posterior.kl is not None
    assert torch.allclose(posterior.kl, torch.as_tensor(helm.exact_posterior(model, guide, X).kl), atol=1e-5)


class Cause(PyroModule):  # type: ignore[misc]
    """Latent and data, or the latent alone, with a probability of the same name."""

    def __init__(self, probability: float, *, observes: bool) -> None:
        super().__init__()
        self.observes = observes
        self.probability = PyroParam(torch.tensor(probability), dist.constraints.unit_interval)

    def forward(self, observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 3, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(self.probability))
            if self.observes:
                logits = torch.tensor([2.0, -1.0]) * h[..., None]
                pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=observations["x"])


class Both(nn.Module):
    """A model and a guide that are methods of one module of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.generative = Cause(0.1, observes=True)
        self.recognition = Cause(0.8, observes=False)

    def model(self, observations: dict[str, Tensor]) -> None:
        self.generative(observations)

    def guide(self, observations: dict[str, Tensor]) -> None:
        self.recognition(observations)


def test_parameters_of_one_name_are_refused_wherever_two_programs_are_used_together() -> None:
    ours, theirs = Cause(0.1, observes=True), Cause(0.8, observes=False)
    both = Both()

    def ours_behind(observations: dict[str, Tensor]) -> None:
        ours(observations)

    sentence = "each have a parameter 'probability', which Pyro would take for one and the same"
    with pyro.get_param_store().scope():
        for a_model, a_guide in (
            (ours, theirs),
            (ours_behind, theirs),
            (partial(ours), partial(theirs)),  # type: ignore[misc]
            (both.model, both.guide),
        ):
            for method in ("importance", "exact"):
                with pytest.raises(ValueError, match=sentence):
                    helm.log_likelihood(a_model, a_guide, X, method=method)
            with pytest.raises(ValueError, match=sentence):
                helm.exact_posterior(a_model, a_guide, X)
        with pytest.raises(ValueError, match=sentence):
            helm.fit(ours, theirs, X, scheme=helm.VIMCO(2), progress=False)


@pytest.mark.parametrize("name", ["Reinforce", "VIMCO", "WakeSleep", "ExactEM"])
def test_parameters_of_one_name_are_refused_by_schemes_whoever_trains(name: str) -> None:
    scheme = getattr(helm, name)(2) if name != "ExactEM" else helm.ExactEM()
    ours, theirs = Cause(0.1, observes=True), Cause(0.8, observes=False)
    sentence = "each have a parameter '{}', which Pyro would take for one and the same"
    with pytest.raises(ValueError, match=sentence.format("probability")):
        scheme.differentiable_loss(ours, theirs, observations={"x": X})
    with pyro.get_param_store().scope():
        svi = pyro.infer.SVI(ours, theirs, pyro.optim.SGD({"lr": 0.1}), loss=scheme)
        with pytest.raises(ValueError, match=sentence.format("probability")):
            svi.step(observations={"x": X})
        # unconstrained ones keep their values, but SVI would train the first alone
        nets = [PyroModule[nn.Linear](2, 2), PyroModule[nn.Linear](2, 2)]
        svi = pyro.infer.SVI(*nets, pyro.optim.SGD({"lr": 0.1}), loss=scheme)
        with pytest.raises(ValueError, match=sentence.format("weight")):
            svi.step(torch.zeros(2))
        coder = [PyroModule(), PyroModule()]
        for one in coder:
            one.net = nn.Sequential(nn.Linear(2, 2))
        svi = pyro.infer.SVI(*coder, pyro.optim.SGD({"lr": 0.1}), loss=scheme)
        with pytest.raises(ValueError, match=r"parameter 'net\$\$\$0\.weight'"):
            svi.step(torch.zeros(2))


def test_a_parameter_of_both_programs_is_taken() -> None:
    ours, theirs = Cause(0.1, observes=True), Cause(0.8, observes=False)
    theirs.probability_unconstrained = ours.probability_unconstrained
    truth = torch.tensor([[0.9, 0.1]]).log() + torch.stack(
        [dist.Bernoulli(logits=torch.tensor([2.0, -1.0]) * h).log_prob(X).sum(-1) for h in (0, 1)], -1
    )
    scores = helm.log_likelihood(ours, theirs, X, num_samples=5000).table
    z = (scores.log_likelihood - truth.logsumexp(-1).numpy()) / scores.stderr
    assert z.abs().max() < 4  # z-threshold
