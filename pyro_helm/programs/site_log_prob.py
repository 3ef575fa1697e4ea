"""Log-probability of a recorded sample site, with masks, and with values of probability 0 for what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import MaskedDistribution
from torch import Tensor
from torch.distributions import Bernoulli

from pyro_helm.programs.contract import Site, check_batch_shape
from pyro_helm.programs.discrete import elementwise, without_events
from pyro_helm.programs.unclamped import drawable, unclamped_log_prob


def log_prob(site: Site, density: Callable[[Any, Tensor], Tensor] | None = None) -> Tensor:
    """Log-probability of a site, zero where it is masked, ``[particles or 1, restarts or 1, data or 1]``.

    Minus infinity for a value of probability 0, of which torch makes 1e-7 where it is given probabilities.

    Args:
        site: a recorded sample site.
        density: what scores a value in place of the distribution, ``(distribution, value) -> log_prob``.

    """
    if density is None and "log_prob" in site:
        known: Tensor = site["log_prob"]
        return known
    fn, value, mask = site["fn"], site["value"], site["mask"]
    if isinstance(mask, Tensor):
        # a value that is masked, NaN say, would reach the gradient of all the others: another takes its place
        inside = mask.reshape(mask.shape + (1,) * fn.event_dim)
        value = torch.where(inside, value, drawable(fn).sample().detach())
    value = _masked_inside(fn, value)
    log_p: Tensor = unclamped_log_prob(fn, value) if density is None else density(fn, value)
    if isinstance(mask, Tensor):
        log_p = torch.where(mask, log_p, torch.zeros((), dtype=log_p.dtype, device=log_p.device))
    elif mask is False:
        log_p = torch.zeros_like(log_p)
    check_batch_shape(site, log_p.shape)
    return log_p.reshape((1,) * (3 - log_p.dim()) + log_p.shape)


def _masked_inside(fn: Any, value: Tensor) -> Tensor:
    """The value with another in the place of what the distribution itself masks, single pixels that are missing say."""
    fn = without_events(fn)
    mask = getattr(fn, "_mask", None) if isinstance(fn, MaskedDistribution) else None
    if not isinstance(mask, Tensor):
        return value
    # 0 is a value of any Bernoulli; of other distributions a draw is one
    other = 0.0 if isinstance(elementwise(fn), Bernoulli) else drawable(fn).sample().detach()
    return torch.where(mask.reshape(mask.shape + (1,) * fn.event_dim), value, other)
