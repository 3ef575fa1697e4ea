"""Which values a discrete site can take, element by element of its event."""

from __future__ import annotations

from typing import Any

from pyro.distributions import ExpandedDistribution, MaskedDistribution
from torch.distributions import Bernoulli, Categorical, Distribution, Independent


def elementwise(fn: Any) -> Distribution:
    """The distribution of single elements, without what declares events, masks or larger batches of it."""
    while isinstance(fn, (Independent, MaskedDistribution, ExpandedDistribution)):
        fn = fn.base_dist
    single: Distribution = fn
    return single


def num_values(fn: Any) -> int | None:
    """Values of each element of a Bernoulli or Categorical site; None for any other distribution.

    >>> num_values(Bernoulli(torch.full((3,), 0.5)))
    2
    """
    single = elementwise(fn)
    if isinstance(single, Bernoulli):
        return 2
    if isinstance(single, Categorical):
        return int(single.logits.shape[-1])
    return None
