"""Final numbers of a trained machine: log-likelihood and bound of every restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

import pandas as pd
from torch import Tensor, nn

from pyro_helm.data.sets import Data
from pyro_helm.likelihoods import Scores, log_likelihood
from pyro_helm.likelihoods.scores import METHODS
from pyro_helm.runtime.arguments import at_least_one
from pyro_helm.runtime.suggestions import unknown

SPLITS = ("valid", "test")
MAX_TERMS = 2**28
"""Terms of an exact log-likelihood that are summed for a machine without a guide: some seconds."""

_GIVEN = ("model", "guide", "data", "weights", "seed", "resume", "progress")
_KNOWN = ["splits", *(name for name in signature(log_likelihood).parameters if name not in _GIVEN)]


def checked_scores(given: Any) -> dict[str, Any]:
    """How final numbers are made, complete; refuse what :func:`pyro_helm.log_likelihood` takes from no study.

    Raises:
        ValueError: for an unknown setting, method or split, or what is no table.

    """
    if not isinstance(given, Mapping):
        raise ValueError(f"scores must be a table of settings of log_likelihood, got {given!r:.60}")
    for name in given:
        if name not in _KNOWN:
            raise ValueError(f"scores: {unknown('setting', str(name), _KNOWN)}")
    scores = {"num_samples": 1000, "splits": list(SPLITS), **given}
    at_least_one("num_samples of scores", scores["num_samples"])
    splits, method = scores["splits"], scores.get("method", METHODS[0])
    if not isinstance(splits, list) or not splits or not set(map(str, splits)) <= {*SPLITS}:
        raise ValueError(f"splits of scores must be a list of {' and '.join(SPLITS)}, got {splits!r:.60}")
    if SPLITS[-1] not in splits:
        raise ValueError(f"splits of scores must have {SPLITS[-1]!r}, which results are reported on, got {splits}")
    if method not in METHODS:
        raise ValueError(f"scores: {unknown('method', str(method), METHODS)}")
    return scores


def cases_to_score(data: Data) -> tuple[Tensor, Tensor | None]:
    """Cases to score a machine on, and their weights.

    The patterns of a data set's exact distribution, ``[patterns, units]``, with their probabilities ``[patterns]``;
    without one, its test cases ``[data, units]`` and None.
    """
    if data.distribution is None:
        return data.test, None
    return data.distribution.patterns, data.distribution.probabilities


def final_scores(
    model: nn.Module,
    guide: nn.Module | None,
    data: Data,
    *,
    splits: Sequence[str],
    failed: Sequence[bool],
    seed: int,
    **how: Any,
) -> pd.DataFrame:
    """``log_likelihood``, ``elbo`` and ``failed`` of every restart on each split, in nats per datum.

    Args:
        model: trained.
        guide: likewise; without one the log-likelihood is exact, or of too many states an estimate of annealed
            importance sampling from the prior, unless ``how`` says a method.
        data: ``test`` is scored on its exact distribution where there is one.
        splits: of :data:`SPLITS`.
        failed: whether each restart has.
        seed: of draws.
        how: further arguments of :func:`pyro_helm.log_likelihood`.

    Returns:
        columns ``restart, split, metric, value, stderr, warnings``.

    """
    rows: list[dict[str, Any]] = []
    for split in splits:
        cases, weights = (data.valid, None) if split == "valid" else cases_to_score(data)
        scores = _scores(model, guide, cases, weights=weights, seed=seed, **how).summary
        for number, restart in enumerate(scores.to_dict("records")):
            labels = {"restart": number, "split": split}
            rows += [labels | measured for measured in _measured(restart, bool(failed[number]))]
    return pd.DataFrame(rows)


def _scores(model: nn.Module, guide: nn.Module | None, cases: Tensor, **how: Any) -> Scores:
    if guide is not None or "method" in how:
        return log_likelihood(model, guide, cases, **how)
    try:
        return log_likelihood(model, None, cases, **{"max_terms": MAX_TERMS, **how, "method": "exact"})
    except ValueError:
        return log_likelihood(model, None, cases, **{**how, "method": "ais", "start": "prior"})


def _measured(restart: Mapping[Any, Any], failed: bool) -> Iterator[dict[str, Any]]:
    if "elbo" in restart:
        yield {"metric": "elbo", "value": restart["elbo"], "stderr": None, "warnings": ""}
    stderr, warnings = restart["stderr"], restart["warnings"]
    yield {"metric": "log_likelihood", "value": restart["log_likelihood"], "stderr": stderr, "warnings": warnings}
    yield {"metric": "failed", "value": float(failed), "stderr": None, "warnings": ""}
