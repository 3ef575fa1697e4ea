"""Probabilities of exactly 0, of 1 and of NaN, which torch's discrete distributions take for others or stop at.

Given ``probs``, torch keeps them from 0 and 1 before it takes a logarithm, so that an impossible value counts as one of
probability 1e-7 (-15.9 nats in float32), and one of 1e-12 does too. Here log-probabilities are of the probabilities
as they are:

    log p(v) = log C(v) + sum_i n_i(v) log p_i,      0 log 0 = 0

Where the value is impossible, the log-probability is minus infinity and its gradient zero. Continuous relaxations are
drawn with the probabilities that they are scored with, and are left alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import ExpandedDistribution, MaskedDistribution, MaskedMixture
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Geometric,
    Independent,
    MixtureSameFamily,
    Multinomial,
    NegativeBinomial,
    OneHotCategorical,
    Poisson,
)
from torch.nn.functional import logsigmoid

from pyro_helm.programs.discrete import elementwise, elementwise_log_prob


def unclamped_log_prob(fn: Any, value: Tensor) -> Tensor:
    """``fn.log_prob(value)``, but with the probabilities that were given instead of clamped ones.

    >>> unclamped_log_prob(Bernoulli(torch.tensor([0.0, 1e-12])), torch.ones(2))
    tensor([    -inf, -27.6310])
    """
    single: Any = elementwise(fn)
    if _density_of(single) is None:
        log_p: Tensor = fn.log_prob(value)
        return log_p
    if getattr(fn, "_validate_args", False):
        fn._validate_sample(value)
    log_p = elementwise_log_prob(fn, value, lambda one, elements: _density_of(one)(one, elements))  # type: ignore[misc]
    return log_p.expand(torch.broadcast_shapes(log_p.shape, fn.batch_shape))


def log_probs(single: Any) -> Tensor:
    """Log-probabilities of all values of a Categorical or OneHotCategorical, ``[..., values]``."""
    if _density_of(single) is None:
        logits: Tensor = single.logits
        return logits
    return _times_log(torch.ones_like(single.probs), single.probs)


def _density_of(single: Any) -> Callable[[Any, Tensor], Tensor] | None:
    """What scores single elements of a distribution that was given probabilities; None for any other."""
    if not _scores_as_its_library(single):
        return None
    for kind, density in _COMPOUND.items():
        if isinstance(single, kind):
            return density
    # either of probs and logits is derived from the other when it is asked for
    inner = getattr(single, "_categorical", single)
    probs = inner.__dict__.get("probs")
    given = "logits" not in inner.__dict__ if isinstance(inner, Geometric) else getattr(inner, "_param", None) is probs
    if probs is None or not given:
        # torch's own is NaN for infinite logits
        return _bernoulli_of_logits if type(single).log_prob is Bernoulli.log_prob else None
    return next((density for kind, density in _DENSITIES.items() if isinstance(single, kind)), None)


def _scores_as_its_library(single: Any) -> bool:
    """Whether ``log_prob`` is torch's or Pyro's own: a class of the user's may have another density."""
    own = getattr(type(single).log_prob, "__module__", None) or ""
    return own.startswith(("torch.distributions", "pyro.distributions")) and "log_prob" not in vars(single)


def _times_log(count: Tensor, probs: Tensor) -> Tensor:
    """``count log p``, with a gradient of zero where it is infinite; NaN stays NaN."""
    zero = probs == 0
    product = count * torch.where(zero, 1.0, probs).log()
    return product.masked_fill(zero & (count != 0), -torch.inf)


def _times_log_of_complement(count: Tensor, probs: Tensor) -> Tensor:
    """``count log(1 - p)``, likewise."""
    one = probs == 1
    product = count * torch.log1p(-torch.where(one, 0.0, probs))
    return product.masked_fill(one & (count != 0), -torch.inf)


def _bernoulli(fn: Any, value: Tensor) -> Tensor:
    return _times_log(value, fn.probs) + _times_log_of_complement(1 - value, fn.probs)


def _bernoulli_of_logits(fn: Any, value: Tensor) -> Tensor:
    on, off = logsigmoid(fn.logits), logsigmoid(-fn.logits)
    return share_of_log_prob(value, on) + share_of_log_prob(1 - value, off)


def share_of_log_prob(count: Tensor, log_p: Tensor) -> Tensor:
    """``count log p``, ``[...]`` as both broadcast, with a gradient of zero where it is infinite."""
    zero = log_p == -torch.inf
    return (count * log_p.masked_fill(zero, 0.0)).masked_fill(zero & (count != 0), -torch.inf)


def _categorical(fn: Any, value: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(fn.probs.shape[:-1], value.shape)
    index = value.long().expand(shape)[..., None]
    chosen = fn.probs.expand(*shape, -1).gather(-1, index).squeeze(-1)
    return _times_log(torch.ones_like(chosen), chosen)


def _one_hot(fn: Any, value: Tensor) -> Tensor:
    return _times_log(value, fn.probs).sum(-1)


def _multinomial(fn: Any, value: Tensor) -> Tensor:
    coefficient = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
    return coefficient + _one_hot(fn, value)


def _binomial(fn: Any, value: Tensor) -> Tensor:
    count = fn.total_count
    coefficient = torch.lgamma(count + 1) - torch.lgamma(value + 1) - torch.lgamma(count - value + 1)
    return coefficient + _times_log(value, fn.probs) + _times_log_of_complement(count - value, fn.probs)


def _negative_binomial(fn: Any, value: Tensor) -> Tensor:
    count = fn.total_count
    coefficient = torch.lgamma(count + value) - torch.lgamma(value + 1) - torch.lgamma(count)
    return coefficient + _times_log(value, fn.probs) + _times_log_of_complement(count, fn.probs)


def _geometric(fn: Any, value: Tensor) -> Tensor:
    return _times_log_of_complement(value, fn.probs) + _times_log(torch.ones_like(value), fn.probs)


def _mixture(fn: Any, value: Tensor) -> Tensor:
    log_p = log_probs(fn.mixture_distribution) + unclamped_log_prob(fn.component_distribution, fn._pad(value))
    # the gradient of a sum of nothing is NaN
    none = (log_p == -torch.inf).all(-1)
    return torch.where(none[..., None], 0.0, log_p).logsumexp(-1).masked_fill(none, -torch.inf)


def _masked_mixture(fn: Any, value: Tensor) -> Tensor:
    return torch.where(fn.mask, unclamped_log_prob(fn.component1, value), unclamped_log_prob(fn.component0, value))


_COMPOUND: dict[type, Callable[[Any, Tensor], Tensor]] = {
    MixtureSameFamily: _mixture,
    MaskedMixture: _masked_mixture,
}

_DENSITIES: dict[type, Callable[[Any, Tensor], Tensor]] = {
    Bernoulli: _bernoulli,
    Categorical: _categorical,
    OneHotCategorical: _one_hot,
    Multinomial: _multinomial,
    Binomial: _binomial,
    NegativeBinomial: _negative_binomial,
    Geometric: _geometric,
}

_DRAWN_WITH: dict[type, str] = {
    Bernoulli: "probs",
    Categorical: "probs",
    Binomial: "probs",
    NegativeBinomial: "logits",
    Poisson: "rate",
}


def drawable(fn: Any) -> Any:
    """The distribution with some number where a parameter is NaN, for which torch would refuse to draw at all.

    What a restart that is NaN draws means nothing, and its log-probability is NaN; the others draw as ever.
    A distribution that needs no such care is returned as it is.
    """
    if isinstance(fn, Independent):
        base = drawable(fn.base_dist)
        return fn if base is fn.base_dist else type(fn)(base, fn.reinterpreted_batch_ndims, validate_args=False)
    if isinstance(fn, MaskedDistribution):
        base = drawable(fn.base_dist)
        return fn if base is fn.base_dist else base.mask(fn._mask)
    if isinstance(fn, ExpandedDistribution):
        base = drawable(fn.base_dist)
        return fn if base is fn.base_dist else base.expand(fn.batch_shape)
    if "_categorical" in getattr(fn, "__dict__", {}):
        return _with(fn, "_categorical", drawable(fn._categorical))
    if _draws_by_itself(fn):
        return fn
    for kind, name in _DRAWN_WITH.items():
        if isinstance(fn, kind):
            return _with(fn, name, getattr(fn, name).nan_to_num(nan=0.5, posinf=torch.inf))
    return fn


def _draws_by_itself(fn: Any) -> bool:
    # a sampler of its own, as the library's distributions have, may take NaN and more than one parameter
    return not type(fn).sample.__module__.startswith(("torch.", "pyro."))


def _with(fn: Any, name: str, value: Any) -> Any:
    changed = copy.copy(fn)
    changed.__dict__[name] = value
    return changed
