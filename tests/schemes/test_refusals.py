"""What schemes refuse in a user's programs, each with the remedy."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_helm.likelihoods import prior
from pyro_helm.programs.particles import Program
from pyro_helm.schemes import DisARM, ExactEM, Gibbs, Relaxed, ReweightedWakeSleep, Scheme
from tests.claims import CLAIMS, Claim, every_claim
from tests.own_models import Observations


def with_latent(make: Callable[[], dist.TorchDistribution]) -> Program:
    """A model with one latent of a kind, ``h``, behind two data; its prior is its guide."""

    def program(observations: Observations) -> None:
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("h", make())
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(2))

    return program


def category() -> dist.TorchDistribution:
    return dist.Categorical(torch.ones(3))


def normal() -> dist.TorchDistribution:
    return dist.Normal(0.0, 1.0)


@pytest.mark.parametrize(
    ("scheme", "make", "error", "sentence"),
    [
        (DisARM(1), category, ValueError, "site 'h' of the guide is a Categorical.* use Reinforce, NVIL or VIMCO"),
        (Relaxed(1), category, ValueError, "site 'h' of the guide is a Categorical.* make it Bernoulli or OneHot"),
        (ExactEM(), normal, TypeError, "site 'h' is a Normal; use a scheme that samples, such as Reinforce"),
        (Gibbs(1), normal, TypeError, "site 'h' is a Normal; use Reinforce or another scheme that samples"),
        (ReweightedWakeSleep(2, defensive=0.1), normal, ValueError, "site 'h' of the guide is a Normal.* defensive=0"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_latent_that_a_scheme_has_no_moves_for_is_refused_with_the_remedy(
    scheme: Scheme, make: Callable[[], dist.TorchDistribution], error: type[Exception], sentence: str
) -> None:
    program = with_latent(make)
    with pytest.raises(error, match=sentence):
        scheme.loss(program, prior(program), observations={})


@every_claim
def test_a_sequential_plate_is_refused_with_the_remedy(claim: Claim) -> None:
    def program(observations: Observations) -> None:
        for row in pyro.plate("rows", 2):
            pyro.sample(f"h{row}", dist.Bernoulli(0.5))

    with pytest.raises(ValueError, match="site 'h0' is in the sequential plate 'rows'; give the plate a dim"):
        claim.scheme.loss(program, program, observations={})


@pytest.mark.parametrize(
    "claim", [pytest.param(claim, id=name) for name, claim in CLAIMS.items() if not claim.takes_shared]
)
def test_two_plates_in_the_place_of_the_data_are_refused_with_the_remedy(claim: Claim) -> None:
    def program(observations: Observations) -> None:
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("h", dist.Bernoulli(0.5))
        with pyro.plate("pixels", 3, dim=-1):
            pyro.sample("g", dist.Bernoulli(0.5))

    sentence = r"site 'h' is in plate 'data' at dim=-1 and site 'g' in plate 'pixels' at dim=-1; .*to_event\(\)"
    with pytest.raises(ValueError, match=sentence):
        claim.scheme.loss(program, program, observations={})
