"""How many values the elements of a site have, under whatever declares events, masks and batches."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch

from pyro_helm import NoisyOrBernoulli
from pyro_helm.discrete import elementwise, num_values

PROBS = torch.full((4, 3), 1 / 3)


@pytest.mark.parametrize(
    ("fn", "count"),
    [
        (dist.Bernoulli(PROBS), 2),
        (dist.Bernoulli(PROBS).to_event(1), 2),
        (dist.Bernoulli(PROBS).mask(PROBS > 0).to_event(1), 2),
        (dist.Bernoulli(PROBS).expand([5, 4, 3]).to_event(2), 2),
        (NoisyOrBernoulli(PROBS).to_event(1), 2),
        (dist.Categorical(PROBS), 3),
        (dist.Categorical(PROBS).to_event(1), 3),
        (dist.Normal(PROBS, 1.0).to_event(1), None),
        (dist.Poisson(PROBS), None),
    ],
)
def test_values_of_an_element(fn: Any, count: int | None) -> None:
    assert num_values(fn) == count


def test_the_elements_distribution_is_the_innermost() -> None:
    fn = dist.Bernoulli(PROBS)
    assert elementwise(fn.mask(PROBS > 0).to_event(1)) is fn
