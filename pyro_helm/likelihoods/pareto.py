"""Pareto k-hat: how heavy the tail of importance weights is, and so whether their mean can be believed.

The largest weights are fitted by a generalised Pareto distribution whose shape k is about the inverse of the number of
moments that the weights have: above 0.5 they have no variance, above 1 no mean.

References:
    Zhang & Stephens 2009, `A new and efficient estimation method for the generalized Pareto distribution
    <https://doi.org/10.1198/tech.2009.08017>`__: the fit. Vehtari, Simpson, Gelman, Yao & Gabry 2024, `Pareto smoothed
    importance sampling <https://arxiv.org/abs/1507.02646>`__: the tail, the prior that steadies the fit, the threshold.

"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_TAIL = 1000
"""So that memory does not grow with the samples."""

_SMALLEST_TAIL = 5


def tail_length(num_samples: int) -> int:
    """Number of largest weights to fit, ``min(K / 5, 3 sqrt(K))``; 0 where that is too few for a fit.

    >>> tail_length(1000), tail_length(10)
    (95, 0)
    """
    length = min(math.ceil(min(num_samples / 5, 3 * math.sqrt(num_samples))), LARGEST_TAIL)
    return length if length >= _SMALLEST_TAIL else 0


def khat_threshold(num_samples: int) -> float:
    """k-hat above which so many weights have no reliable mean, ``min(1 - 1 / log10(K), 0.7)``.

    >>> round(khat_threshold(1000), 3)
    0.667
    """
    return min(1 - 1 / math.log10(max(num_samples, 11)), 0.7)


def pareto_khat(log_weights: Tensor) -> Tensor:
    """Shape of the tail of weights, ``[...]``, from the largest of them, ``[tail + 1, ...]``, in any order.

    The smallest one is where the tail begins. Weights that are all alike have no tail, and 0; with fewer than six, or
    weights that are not finite, k-hat is NaN.

    >>> uniform = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    >>> heavy = -0.8 * uniform.log()  # log of Pareto weights with k = 0.8
    >>> round(float(pareto_khat(heavy.topk(tail_length(10_000) + 1).values)), 1)
    0.9
    """
    ascending = log_weights.double().sort(dim=0).values
    if len(ascending) <= _SMALLEST_TAIL:
        return torch.full_like(log_weights[0], math.nan)
    scaled = torch.exp(ascending - ascending[-1])
    excess = (scaled[1:] - scaled[0]).movedim(0, -1)
    constant = excess[..., -1] == 0
    shape = _fitted_shape(torch.where(constant[..., None], 1.0, excess))
    return torch.where(constant, 0.0, shape).to(log_weights)


def _fitted_shape(excess: Tensor) -> Tensor:
    """K of the generalised Pareto distribution of ``excess`` ``[..., tail]``, ascending, by Zhang & Stephens' fit."""
    tail = excess.shape[-1]
    num_candidates = 30 + int(math.sqrt(tail))
    quartile = excess[..., int(tail / 4 + 0.5) - 1]
    # states of discrete latents come up again and again: where a quarter of the tail is tied with its beginning, the
    # scale is taken from the mean, which for an exponential tail is 3.5 times the quartile
    quartile = torch.where(quartile > 0, quartile, excess.mean(-1) / 3.5)
    steps = torch.arange(1, num_candidates + 1, dtype=excess.dtype, device=excess.device) - 0.5
    candidates = 1 / excess[..., -1:] + (1 - (num_candidates / steps).sqrt()) / (3 * quartile[..., None])
    shapes = torch.log1p(-candidates[..., None] * excess[..., None, :]).mean(-1)
    posterior = torch.softmax(tail * (torch.log(-candidates / shapes) - shapes - 1), dim=-1)
    mean = (posterior * candidates).sum(-1)
    shape = torch.log1p(-mean[..., None] * excess).mean(-1)
    # a prior worth ten data, centred on 0.5
    return (shape * tail + 5) / (tail + 10)
