"""When an estimate of a log-likelihood should not be believed, said in words, with what to do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent

from pyro_helm.conventions import Site
from pyro_helm.likelihoods.pareto import khat_threshold
from pyro_helm.likelihoods.proposals import SCORED_JOINTLY
from pyro_helm.particles import Program, draw_from_model

TOLERATED = 0.05
"""Share of the data that may look bad by chance before there is a warning."""

MATERIAL = 0.1
"""Standard error, in nats, from which on it matters whether it can be believed."""

DREAMS = 1000
"""Joint draws of the model by which it is judged whether the guide can propose its states."""

GROWTH = 0.1
"""Nats by which the mean bound may grow when the samples are doubled."""

ADVICE = 'use more samples, a better or a defensive guide, or method="ais"'


def warning(columns: Mapping[str, np.ndarray], method: str, number: int, missed: float = 0.0) -> str:
    """What is wrong with the estimates of one restart; empty if nothing is.

    Args:
        columns: per datum, by name: ``log_likelihood``, and for estimates ``stderr, ess, khat, bound_half``.
        method: ``"exact"``, ``"importance"`` or ``"ais"``.
        number: samples or chains per datum.
        missed: share of the states that the model dreamt to which the guide gives probability zero.

    """
    if missed:
        return (
            f"the guide gives probability zero to {missed:.1%} of the states that the model dreams, so that importance "
            "sampling can't see them and there is no number; use a guide that can propose every state, such as "
            "defensive(model, guide)"
        )
    broken = float(np.mean(~np.isfinite(columns["log_likelihood"])))
    if broken:
        return f"{broken:.0%} of the data have no finite log-likelihood: parameters are broken or the guide misses it"
    if method == "importance":
        return _of_importance(columns, number)
    return _of_ais(columns, number) if method == "ais" else ""


def _of_importance(columns: Mapping[str, np.ndarray], num_samples: int) -> str:
    few = float(np.mean(columns["ess"] < 10))
    threshold = khat_threshold(num_samples)
    # a heavy tail of weights that hardly differ moves nothing
    heavy = float(np.mean((columns["khat"] > threshold) & (columns["stderr"] > MATERIAL)))
    growth = float(np.mean(columns["log_likelihood"] - columns["bound_half"])) if num_samples > 1 else 0.0
    signs = []
    if few > TOLERATED:
        signs.append(f"{few:.0%} of the data have an effective sample size below 10 of {num_samples}")
    if heavy > TOLERATED:
        signs.append(f"{heavy:.0%} have Pareto k-hat above {threshold:.2f} and a standard error above {MATERIAL} nats")
    if growth > GROWTH:
        signs.append(f"the bound has grown by {growth:.2f} nats with the last doubling of the samples")
    if not signs:
        return ""
    return f"{', '.join(signs)}: the log-likelihood is likely too low and its error understated; {ADVICE}"


def _of_ais(columns: Mapping[str, np.ndarray], num_chains: int) -> str:
    lone = float(np.mean(columns["ess"] < max(1.5, num_chains / 8)))
    if num_chains > 1 and lone > TOLERATED:
        return (
            f"on {lone:.0%} of the data an eighth or less of the {num_chains} chains carry the estimate, so that it is "
            "likely too low and its error understated; use a longer schedule or more chains, and see "
            "log_likelihood_gap"
        )
    return ""


def share_missed(model: Program, guide: Program, x: Tensor) -> Tensor:
    """Share of the states dreamt by the model that the guide gives probability zero, ``[restarts]``.

    Zero for guides that can't be shown dreams, since their model's data are not one site called ``x``, and for
    proposals that are scored as a whole.
    """
    trace = poutine.trace(model).get_trace(observations={"x": x[:1]})
    if trace.observation_nodes != ["x"]:
        return torch.zeros(1)
    dreams = x[torch.arange(DREAMS, device=x.device) % len(x)]  # only their number counts
    particles = draw_from_model(model, guide, 1, kwargs={"observations": {"x": dreams}})
    if any(site["infer"].get(SCORED_JOINTLY) for site in particles.guide_sites.values()):
        return torch.zeros(1)
    missed = torch.stack(torch.broadcast_tensors(*(_impossible(site) for site in particles.guide_sites.values())))
    return missed.any(0).reshape(-1, missed.shape[-1]).double().mean(-1)


def _impossible(site: Site) -> Tensor:
    """Where a value has probability zero, ``[..., restarts, data]``."""
    fn, value, base = site["fn"], site["value"], site["fn"]
    while isinstance(base, Independent):
        base = base.base_dist
    # log_prob of these keeps clear of log 0, and of a probability of zero makes one of 1e-7
    from_probs = "probs" in base.__dict__ and "logits" not in base.__dict__
    if isinstance(base, Bernoulli) and from_probs:
        impossible = torch.where(value == 1, base.probs, 1 - base.probs) == 0
    elif isinstance(base, Categorical) and from_probs:
        index = value.long()[..., None]
        probs = base.probs.expand(*torch.broadcast_shapes(base.probs.shape[:-1], value.shape), base.probs.shape[-1])
        impossible = probs.gather(-1, index).squeeze(-1) == 0
    else:
        log_prob: Tensor = fn.log_prob(value)
        return log_prob == -torch.inf
    return impossible.flatten(impossible.dim() - fn.event_dim).any(-1) if fn.event_dim else impossible
