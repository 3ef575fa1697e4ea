"""Schemes under scales and masks: what is masked is as good as left out, and data that are not seen are latent."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor

from tests.claims import (
    CLAIMS,
    REPLICATES,
    Claim,
    check,
    check_pair,
    enumerated,
    estimates,
    every_claim,
    every_claim_without_dreams,
    exact_gradient,
)
from tests.own_models import TOPICS, WORDS, Observations, Pair, Part, Reader, Topics


@every_claim
def test_a_scale_multiplies_value_and_gradient(claim: Claim) -> None:
    plain, gradients = estimates(claim.scheme, Topics(3), Reader(3), TOPICS.observations)
    scaled, its_gradients = estimates(
        claim.scheme, Topics(3), Reader(3), TOPICS.observations, lambda: poutine.scale(scale=7.0)
    )
    assert torch.allclose(scaled, 7 * plain)
    for name, gradient in gradients.items():
        assert torch.allclose(its_gradients[name], 7 * gradient), name


THREE_DATA = Pair(
    lambda restarts: Topics(restarts, None, 3), lambda restarts: Reader(restarts, None, 3), {"x": WORDS[[0, 1, 3]]}
)


@every_claim_without_dreams
def test_a_masked_datum_is_as_good_as_left_out(claim: Claim) -> None:
    model, guide, exact = enumerated(THREE_DATA)
    expected = exact_gradient(-claim.objective(exact), model, guide)
    mask = torch.tensor([True, True, False, True])
    found = estimates(
        claim.scheme, Topics(REPLICATES), Reader(REPLICATES), TOPICS.observations, lambda: poutine.mask(mask=mask)
    )
    check(claim, -claim.value(exact).detach(), expected, *found)


WITHOUT_ONE = torch.where(torch.arange(4) == 1, torch.nan, WORDS)
MISSING = Pair(partial(Topics, missing=True), Reader, {"x": WITHOUT_ONE})
LEFT_AWAY = Pair(partial(Topics, kept=[0, 2, 3]), Reader, {"x": WITHOUT_ONE})


@every_claim
def test_missing_pixels_are_as_good_as_left_out(claim: Claim) -> None:
    """NaN under a mask of the pixels themselves."""
    check_pair(claim, MISSING, LEFT_AWAY)


class Unseen(Part):
    """Two causes of three pixels, of which some data are not seen at all."""

    def __init__(self, *plates: Any, is_seen: Tensor) -> None:
        super().__init__(*plates)
        self.is_seen = is_seen
        self.prior = self.learned(0, 1, 2)
        self.weight = self.learned(1, 2, 3)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            h = pyro.sample("h", dist.Bernoulli(logits=self.prior).to_event(1))
            pixels = dist.Bernoulli(logits=h @ self.weight).to_event(1)
            pyro.sample("x", pixels, obs=observations["x"], obs_mask=self.is_seen)


class Imagining(Part):
    """Its guide, which draws what is not seen."""

    def __init__(self, *plates: Any, is_seen: Tensor) -> None:
        super().__init__(*plates)
        self.is_seen = is_seen
        self.up = self.learned(2, 3, 2)
        self.down = self.learned(3, 2, 3)

    def forward(self, observations: Observations) -> None:
        x = torch.where(self.is_seen[:, None], observations["x"], 0.0)
        with self.plates():
            h = pyro.sample("h", dist.Bernoulli(logits=x @ self.up).to_event(1))
            with poutine.mask(mask=~self.is_seen):
                pyro.sample("x_unobserved", dist.Bernoulli(logits=h @ self.down).to_event(1))


IS_SEEN = torch.tensor([True, False, True, True])
PIXELS = WORDS[:, :3]
PARTLY_SEEN = Pair(
    partial(Unseen, is_seen=IS_SEEN),
    partial(Imagining, is_seen=IS_SEEN),
    {"x": PIXELS.masked_fill(~IS_SEEN[:, None], torch.nan)},
)
ANY_VALUE = Pair(PARTLY_SEEN.model, PARTLY_SEEN.guide, {"x": PIXELS})
"""The same with some value instead of NaN, which Pyro's traces need."""


@every_claim_without_dreams
def test_data_under_an_obs_mask_are_latent(claim: Claim) -> None:
    check_pair(claim, PARTLY_SEEN, ANY_VALUE)


class Ragged(Part):
    """Two causes of four pixels, and a third that is only there to fill the tensor up, or is not there."""

    def __init__(self, *plates: Any, padded: bool) -> None:
        super().__init__(*plates)
        self.padded = padded
        self.prior = self.learned(0, 1, 3)
        self.weight = self.learned(1, 3, 4)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            h = pyro.sample("h", padded(self.prior, self.padded))
            drive = h[..., :2] @ self.weight[..., :2, :]
            pyro.sample("x", dist.Bernoulli(logits=drive).to_event(1), obs=observations["x"])


class RaggedReader(Part):
    """Its guide."""

    def __init__(self, *plates: Any, padded: bool) -> None:
        super().__init__(*plates)
        self.padded = padded
        self.weight = self.learned(2, 4, 3)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            pyro.sample("h", padded(observations["x"] @ self.weight, self.padded))


def padded(logits: Tensor, is_padded: bool) -> dist.TorchDistribution:
    """Three units of which the last is masked, or the other two."""
    if is_padded:
        return dist.Bernoulli(logits=logits).mask(torch.tensor([True, True, False])).to_event(1)
    return dist.Bernoulli(logits=logits[..., :2]).to_event(1)


PADDED, UNPADDED = (
    Pair(partial(Ragged, padded=is_padded), partial(RaggedReader, padded=is_padded), {"x": WORDS})
    for is_padded in (True, False)
)


@pytest.mark.parametrize("claim", [pytest.param(claim, id=name) for name, claim in CLAIMS.items() if not claim.dreams])
def test_latent_units_that_are_masked_are_as_good_as_left_out(claim: Claim) -> None:
    check_pair(claim, PADDED, UNPADDED)
