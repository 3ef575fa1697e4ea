"""Log-likelihoods by importance sampling from the guide.

    log p(x) ~ log mean_k w_k,   w_k = p(x, h_k) / q(h_k | x),   h_k ~ q(h | x)

A lower bound on average, close where the guide covers the posterior. With ``ESS = (sum w)^2 / sum w^2`` the delta
method gives the standard error ``sqrt((K / ESS - 1) / (K - 1))`` of the logarithm.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pyro
import torch
from torch import Tensor

from pyro_helm.particles import Program, draw_from_guide


class ImportanceEstimate(NamedTuple):
    """Per datum and restart, ``[restarts, data]``; in nats, but for ``ess``, a number of samples."""

    log_likelihood: Tensor
    stderr: Tensor
    ess: Tensor
    elbo: Tensor


def importance(
    model: Program, guide: Program, x: Tensor, *, num_samples: int, draws_at_once: int = 20_000
) -> ImportanceEstimate:
    """Importance-sampling estimate of ``log p(x)`` and, from the same draws, of the evidence lower bound.

    Args:
        model: called with ``observations={"x": x}``.
        guide: called likewise.
        x: data ``[data, units]``.
        num_samples: draws per datum and restart.
        draws_at_once: draws (samples x restarts x data) held in memory, however many there are in all.

    """
    restarts = getattr(model, "restarts", 1)
    samples_at_once = min(num_samples, max(1, draws_at_once // restarts), 100)
    rows_at_once = max(1, draws_at_once // (restarts * samples_at_once))
    estimates: list[ImportanceEstimate] = []
    # unvalidated: parameters of one restart that are out of range must not cost the others their estimate
    with torch.no_grad(), pyro.validation_enabled(False):
        estimates.extend(_of_rows(model, guide, rows, num_samples, samples_at_once) for rows in x.split(rows_at_once))
    return ImportanceEstimate(*(torch.cat(parts, dim=-1) for parts in zip(*estimates, strict=True)))


def _of_rows(model: Program, guide: Program, x: Tensor, num_samples: int, samples_at_once: int) -> ImportanceEstimate:
    total = log_sum = log_sum_squares = torch.zeros(())
    done = 0
    while done < num_samples:
        particles = draw_from_guide(
            model, guide, min(samples_at_once, num_samples - done), kwargs={"observations": {"x": x}}
        )
        log_weight = particles.log_weight
        if done == 0:
            total = log_weight.sum(0)
            log_sum = log_weight.logsumexp(0)
            log_sum_squares = (2 * log_weight).logsumexp(0)
        else:
            total = total + log_weight.sum(0)
            log_sum = torch.logaddexp(log_sum, log_weight.logsumexp(0))
            log_sum_squares = torch.logaddexp(log_sum_squares, (2 * log_weight).logsumexp(0))
        done += len(log_weight)
    ess = torch.exp(2 * log_sum - log_sum_squares)
    # one sample shows nothing of its own error
    variance = (num_samples / ess - 1).clamp(min=0) / (num_samples - 1) if num_samples > 1 else ess * math.nan
    return ImportanceEstimate(
        log_likelihood=log_sum - math.log(num_samples), stderr=variance.sqrt(), ess=ess, elbo=total / num_samples
    )
