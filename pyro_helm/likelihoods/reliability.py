"""When an estimate of a log-likelihood should not be believed, said in words, with what to do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pyro_helm.likelihoods.pareto import khat_threshold

TOLERATED = 0.05
"""Share of the data, by weight, that may look bad by chance before there is a warning."""

COSTLY = 0.05
"""Nats of the mean that bad data may be expected to cost, however few they are."""

MATERIAL = 0.1
"""Standard error, in nats, from which on it matters whether it can be believed."""

LARGE = 0.5
"""Standard error, in nats, from which on the bias, about half its square, is no longer small."""

GROWTH = 0.1
"""Nats by which the mean bound may grow when the samples are doubled."""

ADVICE = 'use more samples, a better or a defensive guide, or method="ais"'


def warning(
    columns: Mapping[str, np.ndarray],
    method: str,
    number: int,
    *,
    weights: np.ndarray | None = None,
    missed: np.ndarray | None = None,
) -> str:
    """What is wrong with the estimates of one restart; empty if nothing is.

    Args:
        columns: per datum, by name: ``log_likelihood``, and for estimates ``stderr, ess, khat, bound_half``.
        method: ``"exact"``, ``"importance"`` or ``"ais"``.
        number: samples or chains per datum.
        weights: ``[data]``, what each datum counts for; None for all alike.
        missed: ``[data]``, where the guide gives probability zero to states that the posterior has.

    """
    if missed is not None and missed.any():
        return (
            f"on {_count(missed, weights)} the guide gives probability zero to states that the posterior has, so that "
            "importance sampling misses them and the estimate is NaN; use a guide that can propose every state, such "
            "as mixed_with_prior(model, guide)"
        )
    zero = columns["log_likelihood"] == -np.inf
    if zero.any():
        share = "100% of the data" if zero.all() else _count(zero, weights)
        if method == "exact":
            return f"{share} have no finite log-likelihood: the model gives them probability zero"
        return (
            f"{share} have no finite log-likelihood: the model gives them probability zero in every draw, since they "
            'are impossible, parameters are broken or the draws miss what could make them; method="exact" tells which'
        )
    broken = ~np.isfinite(columns["log_likelihood"])
    if broken.any():
        share = "100% of the data" if broken.all() else _count(broken, weights)
        return f"{share} have no finite log-likelihood: parameters are broken or the guide misses it"
    if method == "importance":
        return _of_importance(columns, number, weights)
    return _of_ais(columns, number, weights) if method == "ais" else ""


def _of_importance(columns: Mapping[str, np.ndarray], num_samples: int, weights: np.ndarray | None) -> str:
    threshold = khat_threshold(num_samples)
    few = columns["ess"] < 10
    # a heavy tail of weights that hardly differ moves nothing
    heavy = (columns["khat"] > threshold) & (columns["stderr"] > MATERIAL)
    signs = []
    if _matters(few, columns, weights):
        signs.append(f"{_count(few, weights)} have an effective sample size below 10 of {num_samples}")
    if _matters(heavy, columns, weights):
        signs.append(
            f"{_count(heavy, weights)} have Pareto k-hat above {threshold:.2f} and a standard error above "
            f"{MATERIAL} nats"
        )
    signs += _growing(columns, num_samples, weights, "samples")
    if not signs:
        return ""
    return f"{', '.join(signs)}: the log-likelihood is likely too low and its error understated; {ADVICE}"


def _of_ais(columns: Mapping[str, np.ndarray], num_chains: int, weights: np.ndarray | None) -> str:
    advice = "use a longer schedule or more chains, and see log_likelihood_gap"
    if num_chains == 1:
        return f"a single chain shows neither its error nor its bias; {advice}"
    lone, wide = columns["ess"] < max(1.5, num_chains / 8), columns["stderr"] > LARGE
    signs = []
    if _matters(lone, columns, weights):
        signs.append(
            f"on {_count(lone, weights)} an eighth or less of the {num_chains} chains, or one alone, carry the estimate"
        )
    if _matters(wide, columns, weights):
        signs.append(f"{_count(wide, weights)} have a standard error above {LARGE} nats")
    signs += _growing(columns, num_chains, weights, "chains")
    if not signs:
        return ""
    return f"{', '.join(signs)}: the log-likelihood is likely too low and its error understated; {advice}"


def _growing(columns: Mapping[str, np.ndarray], number: int, weights: np.ndarray | None, what: str) -> list[str]:
    growth = _mean(_growth(columns), weights) if number > 1 else 0.0
    return [f"the bound has grown by {growth:.2f} nats with the last doubling of the {what}"] * (growth > GROWTH)


def _matters(bad: np.ndarray, columns: Mapping[str, np.ndarray], weights: np.ndarray | None) -> bool:
    """Whether bad data are more than chance has, or so bad that the mean is off by their error or growth."""
    cost = np.fmax(columns["stderr"], _growth(columns))
    costs = np.where(bad & np.isfinite(cost), cost, 0.0)
    return _mean(bad, weights) > TOLERATED or _mean(costs, weights) > COSTLY


def _growth(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    growth: np.ndarray = columns["log_likelihood"] - columns["bound_half"]
    return growth


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    return float(np.average(values, weights=weights))


def _count(bad: np.ndarray, weights: np.ndarray | None) -> str:
    count = f"{bad.sum()} of {len(bad)} data"
    return count if weights is None else f"{count} ({_mean(bad, weights):.2g} of the weight)"
