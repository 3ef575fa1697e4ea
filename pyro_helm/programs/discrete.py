"""Discrete sites element by element of their event: which values they can take, and how they are scored otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import ExpandedDistribution, MaskedDistribution
from pyro.distributions.util import sum_rightmost
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent

from pyro_helm.layers.autoregressive import Autoregressive
from pyro_helm.layers.one_hot_groups import OneHotGroups
from pyro_helm.layers.through_time import ThroughTime
from pyro_helm.runtime.one_hot_codes import one_hot

_WRAPPERS = (Independent, MaskedDistribution, ExpandedDistribution)


def elementwise(fn: Any) -> Distribution:
    """The distribution of single elements, without what declares events, masks or larger batches of it."""
    while (base := getattr(fn, "base_dist", None)) is not None and isinstance(fn, _WRAPPERS):
        fn = base
    single: Distribution = fn
    return single


def single_units(fn: Any) -> Distribution:
    """As :func:`elementwise`; of units with lateral connections, what they are but for these."""
    single = elementwise(fn)
    return elementwise(single.units) if isinstance(single, (Autoregressive, ThroughTime)) else single


def without_events(fn: Any) -> Any:
    """The distribution without what declares its last batch dimensions an event."""
    while isinstance(fn, Independent):
        fn = fn.base_dist
    return fn


def unit_means(fn: Any) -> Tensor:
    """Means of a site's units, ``[..., *event]``; a Categorical has a unit for each of its values, ``[..., values]``.

    >>> unit_means(Categorical(torch.tensor([0.25, 0.75])))
    tensor([0.2500, 0.7500])
    """
    single = elementwise(fn)
    means: Tensor = single.probs if isinstance(single, Categorical) else fn.mean
    return means


def unit_values(fn: Any, value: Tensor) -> Tensor:
    """The value of each unit, which for a Categorical is 1 for the unit that is chosen and 0 for the others.

    >>> unit_values(Categorical(torch.tensor([0.25, 0.75])), torch.tensor(1))
    tensor([0., 1.])
    """
    single = elementwise(fn)
    if not isinstance(single, Categorical):
        return value
    return one_hot(value.long(), single.probs.shape[-1]).to(single.probs.dtype)


def num_values(fn: Any) -> int | None:
    """Values of each element of a Bernoulli or Categorical site; None for any other distribution.

    >>> num_values(Bernoulli(torch.full((3,), 0.5)))
    2
    """
    single = single_units(fn)
    if isinstance(single, Bernoulli):
        return 2
    if isinstance(single, Categorical):
        return int(single.param_shape[-1])
    return None


def elementwise_log_prob(fn: Any, value: Tensor, density: Callable[[Any, Tensor], Tensor]) -> Tensor:
    """Log-probability of a value whose elements are scored by the given density.

    Args:
        fn: distribution, whose events are summed over and whose own masks count for nothing.
        value: of it, ``[*batch, *event]``; the result is ``[*batch]``, in nats.
        density: from the distribution of single elements and their values to log-probabilities.

    """
    if isinstance(fn, MaskedDistribution):
        log_p = elementwise_log_prob(fn.base_dist, value, density)
        return torch.where(torch.as_tensor(fn._mask, device=log_p.device), log_p, torch.zeros_like(log_p))
    if isinstance(fn, Independent):
        summed: Tensor = sum_rightmost(elementwise_log_prob(fn.base_dist, value, density), fn.reinterpreted_batch_ndims)
        return summed
    return density(elementwise(fn), value)


def uniform_log_prob(fn: Any, value: Tensor) -> Tensor:
    """Minus the log of the number of values that a site can take, masked elements left out.

    >>> uniform_log_prob(Bernoulli(torch.full((3,), 0.5)), torch.zeros(3))
    tensor([-0.6931, -0.6931, -0.6931], dtype=torch.float64)
    """
    count, units = num_values(fn), single_units(fn)
    if isinstance(units, OneHotGroups):
        return torch.full(
            value.shape[:-1], -math.log(math.prod(units.groups)), dtype=torch.float64, device=value.device
        )
    if isinstance(sequence := elementwise(fn), ThroughTime):
        return -math.log(2) * sequence.num_inside().double()
    if count is None:
        raise ValueError(f"a {type(elementwise(fn)).__name__} has no finite number of values")
    return elementwise_log_prob(
        fn,
        value,
        lambda single, elements: sum_rightmost(
            torch.full(elements.shape, -math.log(count), dtype=torch.float64, device=value.device),
            len(single.event_shape),
        ),
    )
