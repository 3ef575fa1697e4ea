"""Schemes on a user's own models in plain Pyro: value and mean gradient against exact ones."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from pyro.infer import SVI
from pyro.nn import PyroModule
from pyro.nn.module import to_pyro_module_
from torch import Tensor, nn

from pyro_helm.schemes import VIMCO, ExactEM, Gibbs, Reinforce, ReweightedWakeSleep
from tests.checker import Z_THRESHOLD, z_scores
from tests.claims import (
    CLAIMS,
    REPLICATES,
    Claim,
    Exact,
    check,
    check_pair,
    elbo,
    enumerated,
    estimates,
    every_claim,
    exact_gradient,
)
from tests.own_models import PAIRS, SEASONAL, SERIES, Chain, Filter, Observations, Pair, Part

fits = [
    pytest.param(pair, claim, id=f"{of}-{name}")
    for of, pair in PAIRS.items()
    for name, claim in CLAIMS.items()
    if pair.bernoulli or not claim.needs_bernoulli
]


@pytest.mark.parametrize(("pair", "claim"), fits)
def test_a_scheme_follows_on_a_users_model_what_it_claims_to(pair: Pair, claim: Claim) -> None:
    check_pair(claim, pair)


@pytest.mark.parametrize(("pair", "claim"), fits)
def test_minibatches_average_to_the_full_data(pair: Pair, claim: Claim) -> None:
    """Two minibatches of two data each, which together are all of them."""
    model, guide, exact = enumerated(pair)
    expected = exact_gradient(-claim.objective(exact), model, guide)
    batches = []
    for rows in (torch.tensor([0, 2]), torch.tensor([1, 3])):
        programs = pair.model(REPLICATES, rows), pair.guide(REPLICATES, rows)
        batches.append(estimates(claim.scheme, programs[0], programs[1], pair.observations))
    losses = torch.stack([loss for loss, _ in batches]).mean(0)
    samples = {name: torch.stack([sample[name] for _, sample in batches]).mean(0) for name in expected}
    check(claim, -claim.value(exact).detach(), expected, losses, samples)


@pytest.mark.parametrize(("pair", "claim"), fits)
def test_a_program_without_restarts_is_one_restart(pair: Pair, claim: Claim) -> None:
    losses, gradients = estimates(claim.scheme, pair.model(0), pair.guide(0), pair.observations)
    with_plate, its_gradients = estimates(claim.scheme, pair.model(1), pair.guide(1), pair.observations)
    assert losses.shape == (1,)
    assert torch.allclose(losses, with_plate)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, its_gradients[name]), name


# --- convolutions -------------------------------------------------------------------------------------------------


def nested(*layers: nn.Module) -> nn.Module:
    """Layers in turn, as Pyro modules inside one."""
    module = nn.Sequential(*layers).double()
    to_pyro_module_(module)
    return module


class Images(PyroModule):  # type: ignore[misc]
    """Four causes of images of 8 x 8 pixels, painted by a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = nn.Parameter(torch.tensor([0.3, -0.5, 0.0, 0.4]).double())
        layers = nn.Linear(4, 8), nn.Tanh(), nn.Unflatten(-1, (2, 2, 2)), nn.ConvTranspose2d(2, 1, 4, stride=4)
        self.paint = nested(*layers)

    def forward(self, observations: Observations) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-4], dim=-1):
            h = pyro.sample("h", dist.Bernoulli(logits=self.prior).to_event(1))
            drive = self.paint(h.reshape(-1, 4)).reshape(*h.shape[:-1], 1, 8, 8)
            pyro.sample("x", dist.Bernoulli(logits=drive).to_event(3), obs=x)


class ImageReader(PyroModule):  # type: ignore[misc]
    """Its guide, by a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nested(nn.Conv2d(1, 2, 4, stride=4), nn.Tanh(), nn.Flatten(), nn.Linear(8, 4))

    def forward(self, observations: Observations) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-4], dim=-1):
            # a dream has particles and restarts in front of its data
            logits = self.look(x.reshape(-1, 1, 8, 8)).reshape(*x.shape[:-3], 4)
            pyro.sample("h", dist.Bernoulli(logits=logits).to_event(1))


def convolutional() -> tuple[Images, ImageReader, Observations]:
    torch.manual_seed(0)
    x = torch.zeros(3, 1, 8, 8, dtype=torch.float64)
    x[0, :, :4] = x[1, :, :, :4] = x[2, :, 4:, 4:] = 1
    return Images(), ImageReader(), {"x": x}


@every_claim
def test_a_scheme_follows_in_nested_convolutional_modules_what_it_claims_to(claim: Claim) -> None:
    """Without restarts: steps at 40 seeds are the replicates."""
    model, guide, observations = convolutional()
    exact = Exact(model, guide, observations)
    expected = exact_gradient(-claim.objective(exact), model, guide)
    parameters = [*model.parameters(), *guide.parameters()]
    losses, gradients = [], []
    pyro.set_rng_seed(0)
    for _ in range(40):
        loss = copy.deepcopy(claim.scheme).differentiable_loss(model, guide, observations=observations)
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, parameters, allow_unused=True))
    samples = {
        name: torch.stack([torch.zeros(()) if one is None else one for one in every])
        for name, every in zip(expected, zip(*gradients, strict=True), strict=True)
    }
    check(
        claim,
        -claim.value(exact).detach(),
        {name: value[None] for name, value in expected.items()},
        torch.stack(losses),
        samples,
    )


@every_claim
def test_a_scheme_trains_nested_convolutional_modules(claim: Claim) -> None:
    model, guide, observations = convolutional()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), loss=copy.deepcopy(claim.scheme))
    pyro.set_rng_seed(0)
    losses = [svi.step(observations=observations) for _ in range(25)]
    assert sum(losses[-5:]) < 0.96 * sum(losses[:5])


# --- the chain ----------------------------------------------------------------------------------------------------


def test_exact_em_is_the_forward_algorithm() -> None:
    model = Chain(1)
    losses, gradients = estimates(ExactEM(), model, Filter(1), PAIRS["chain"].observations)
    evidence = model.log_evidence(SERIES).sum()
    assert torch.allclose(-losses, evidence)
    its = exact_gradient(-evidence, model, Filter(1))
    for name, parameter in model.named_parameters():
        assert torch.allclose(gradients[f"model.{name}"], its[f"model.{name}"]), name
        assert parameter.grad is not None


def test_bounds_of_the_chain_rise_towards_the_forward_algorithm() -> None:
    values = [
        float(-estimates(scheme, Chain(100), Filter(100), PAIRS["chain"].observations)[0].mean())
        for scheme in (Reinforce(5), VIMCO(5), ReweightedWakeSleep(50), ReweightedWakeSleep(1000))
    ]
    evidence = float(Chain(1).log_evidence(SERIES).sum().detach())
    assert values == sorted(values)
    assert values[0] < evidence - 0.5
    assert evidence - 0.1 < values[-1] < evidence


def test_gibbs_follows_the_forward_algorithm_in_the_chain() -> None:
    model = Chain(1)
    expected = exact_gradient(-model.log_evidence(SERIES).sum(), model, Filter(1))
    chains = Chain(REPLICATES)
    pyro.set_rng_seed(0)
    Gibbs(1, num_sweeps=15).restart_losses(chains, None, observations=PAIRS["chain"].observations).sum().backward()
    for name, parameter in chains.named_parameters():
        assert parameter.grad is not None
        assert float(z_scores(parameter.grad, expected[f"model.{name}"][0]).abs().max()) < Z_THRESHOLD, name


# --- continuous and discrete latents in turn ----------------------------------------------------------------------


class Sandwich(Part):
    """Coin c, then z | c normal, then coin d | z, and x normal around z + d."""

    def __init__(self, *plates: Any) -> None:
        super().__init__(*plates)
        self.prior = self.learned(0, 1)
        self.loc = self.learned(1, 2)
        self.slope = self.learned(2, 1)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            c = pyro.sample("c", dist.Bernoulli(logits=self.prior))
            z = pyro.sample("z", dist.Normal(torch.where(c == 1, self.loc[:, 1:], self.loc[:, :1]), 1.0))
            d = pyro.sample("d", dist.Bernoulli(logits=self.slope * z))
            pyro.sample("x", dist.Normal(z + d, 1.0), obs=observations["x"])


class SandwichReader(Part):
    """Its guide, in the same order."""

    def __init__(self, *plates: Any) -> None:
        super().__init__(*plates)
        self.first = self.learned(3, 2)
        self.second = self.learned(4, 3)
        self.log_scale = self.learned(5, 1)
        self.third = self.learned(6, 3)

    def forward(self, observations: Observations) -> None:
        x = observations["x"]
        with self.plates():
            c = pyro.sample("c", dist.Bernoulli(logits=self.first[:, :1] + self.first[:, 1:] * x))
            loc = self.second[:, :1] + self.second[:, 1:2] * x + self.second[:, 2:] * c
            z = pyro.sample("z", dist.Normal(loc, self.log_scale.exp()))
            logits = self.third[:, :1] + self.third[:, 1:2] * z + self.third[:, 2:] * c
            pyro.sample("d", dist.Bernoulli(logits=logits))


def sandwich_elbo(model: Sandwich, guide: SandwichReader, x: Tensor) -> Tensor:
    """The bound of one restart with the sum over coins written out and quadrature over z, ``[nodes, data]``."""
    nodes, weights = (torch.as_tensor(column)[:, None] for column in hermegauss(40))
    total = torch.zeros(())
    for c, d in itertools.product((0, 1), repeat=2):
        log_q_c = nn.functional.logsigmoid((2 * c - 1) * (guide.first[0, 0] + guide.first[0, 1] * x))
        q_z = dist.Normal(
            guide.second[0, 0] + guide.second[0, 1] * x + guide.second[0, 2] * c, guide.log_scale[0].exp()
        )
        z = q_z.loc + q_z.scale * nodes
        log_q_d = nn.functional.logsigmoid(
            (2 * d - 1) * (guide.third[0, 0] + guide.third[0, 1] * z + guide.third[0, 2] * c)
        )
        log_p = nn.functional.logsigmoid((2 * c - 1) * model.prior[0]) + dist.Normal(model.loc[0, c], 1.0).log_prob(z)
        log_p = log_p + nn.functional.logsigmoid((2 * d - 1) * model.slope[0] * z)
        log_p = log_p + dist.Normal(z + d, 1.0).log_prob(x)
        log_q = log_q_c + q_z.log_prob(z) + log_q_d
        total = total + (weights / math.sqrt(2 * math.pi) * (log_q_c + log_q_d).exp() * (log_p - log_q)).sum()
    return total


@pytest.mark.parametrize(
    "claim", [pytest.param(claim, id=name) for name, claim in CLAIMS.items() if claim.objective is elbo]
)
def test_discrete_latents_around_a_continuous_one_are_followed(claim: Claim) -> None:
    model, guide = Sandwich(1), SandwichReader(1)
    bound = sandwich_elbo(model, guide, SEASONAL)
    expected = exact_gradient(-bound, model, guide)
    found = estimates(claim.scheme, Sandwich(REPLICATES), SandwichReader(REPLICATES), {"x": SEASONAL})
    check(claim, -bound.detach(), expected, *found)
