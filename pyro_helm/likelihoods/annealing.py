"""Annealing of binary hierarchies between a start that can be sampled and the posterior, with exact Gibbs moves.

The path and its moves are those of :mod:`pyro_helm.latents.gibbs_moves`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pyro_helm.latents.gibbs_moves import Factor, gibbs
from pyro_helm.runtime.arguments import is_whole, rising_to_one

_STEEPNESS = 4.0


def temperatures(schedule: int | Sequence[float]) -> list[float]:
    """Inverse temperatures from 0 to 1: so many steps of a sigmoid schedule, denser at both ends, or those given.

    Raises:
        ValueError: unless there is a step, and they rise from 0 to 1.

    References:
        Grosse, Ghahramani & Adams 2015, `Sandwiching the marginal likelihood using bidirectional Monte Carlo
        <https://arxiv.org/abs/1511.02543>`__.

    >>> [round(beta, 2) for beta in temperatures(4)]
    [0.0, 0.1, 0.5, 0.9, 1.0]
    """
    if not is_whole(schedule):
        return _checked(schedule)
    if schedule < 1:
        raise ValueError(f"schedule must be at least 1 step, got {schedule}")
    raw = torch.sigmoid(_STEEPNESS * torch.linspace(-1, 1, int(schedule) + 1, dtype=torch.float64))
    betas: list[float] = ((raw - raw[0]) / (raw[-1] - raw[0])).tolist()
    return betas


def _checked(schedule: Any) -> list[float]:
    if not isinstance(schedule, Iterable) or isinstance(schedule, str):
        raise ValueError(f"schedule must be a whole number of steps, or inverse temperatures, got {schedule!r}")
    return rising_to_one("schedule", schedule, of_each="an inverse temperature of schedule")


def anneal(path: Sequence[Factor], units: list[Tensor], betas: Sequence[float]) -> Tensor:
    """Log weight of each chain, ``[chains, restarts, data]``, of going along the inverse temperatures in their order.

    Args:
        path: the factors.
        units: ``[x, h1, h2, ...]``, each ``[chains, restarts, data, units]``, drawn from the first distribution of the
            path; moved in place. The expected weight is the ratio of the normalisers, last to first.
        betas: from 0 to 1, or from 1 to 0 with units drawn from the posterior.

    """
    log_weight = units[1].new_zeros(units[1].shape[:-1])
    for previous, beta in pairwise(betas):
        for factor in path:
            change = factor.power(beta) - factor.power(previous)
            if change:
                log_weight += change * factor.log_prob(factor.drive(units), units)
        if beta != betas[-1]:
            for level in range(1, len(units)):
                gibbs(path, units, level, beta)
    return log_weight
