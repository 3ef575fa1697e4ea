"""Discrete data have a probability, which is not above 1: what estimates more is no estimate of it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pyro_helm.programs.contract import Site
from pyro_helm.programs.supports import is_discrete

STDERRS = 5.0
"""Standard errors by which a single estimate may be above 0 by chance."""

UNSEEN = 35.0
"""Over the number of samples: nats by which it may be so with no error to show, since none was a small weight.

With five standard errors, the empirical Bernstein bound at a chance below 1e-6 (Maurer & Pontil 2009)."""

ROUNDING = 0.01
"""Nats that are left to rounding."""


def has_probability(sites: Iterable[Site]) -> bool:
    """Whether all that is observed at these sites is discrete; a factor is not."""
    return all(is_discrete(site["fn"]) is True for site in sites if site["is_observed"])


def check_at_most_one(log_p: Tensor, stderr: Tensor, number: int) -> None:
    """Refuse estimates of the log-probability of discrete data that are above 0 by more than their error.

    Args:
        log_p: ``[restarts, data]``.
        stderr: its standard error.
        number: samples or chains that each was made of.

    Raises:
        ValueError: with the first of them.

    """
    above = log_p > STDERRS * stderr.nan_to_num(0.0, posinf=torch.inf) + UNSEEN / number + ROUNDING
    if bool(above.any()):
        raise ValueError(
            f"an estimate of log p(x) is {log_p[above][0]:.2f} ± {stderr[above][0]:.2g} nats, but discrete data have a "
            "probability of at most 1; the model or the guide has log-probabilities that are not those of its draws"
        )
