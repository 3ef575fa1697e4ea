"""Which of two models is better, judged on the same data: paired differences with their standard error."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd

from pyro_helm.likelihoods.score_tables import mean, stderr_of_mean
from pyro_helm.likelihoods.scores import Scores


def paired_differences(scores: Scores, against: Scores | None = None) -> pd.DataFrame:
    """Paired differences in mean log-likelihood, in nats per datum.

    The restarts are scored on the same data, so that its noise cancels.

    The standard error is that of the mean of the differences per datum, which is smaller than that of either mean,
    since what is hard for one model is hard for the other. Sampling error of the estimates is in it; their bias is not.

    Args:
        scores: of one model.
        against: of another, on the same data; None compares the restarts of the first with one another.

    Returns:
        one row per pair: ``restart, against, difference, stderr, z``; positive where ``restart`` of ``scores`` is
        better than ``against``.

    Raises:
        ValueError: for scores of other data.

    >>> guide, data = FactorialRecognition((6, 4), seed=0), torch.ones(5, 6)
    >>> one, two = (log_likelihood(BeliefNetwork((6, 4), seed=seed), None, data, method="exact") for seed in (0, 1))
    >>> paired_differences(one, two).columns.tolist()
    ['restart', 'against', 'difference', 'stderr', 'z']
    """
    for name, given in (("scores", scores), ("against", against)):
        if not isinstance(given, Scores) and not (name == "against" and given is None):
            raise TypeError(f"{name} must be what log_likelihood returned, got {type(given).__name__}")
    ours = _by_restart(scores)
    theirs = ours if against is None else _by_restart(against)
    for what, agree in (
        (f"{ours[0].shape[1]} and {theirs[0].shape[1]} data", ours[0].shape[1] == theirs[0].shape[1]),
        ("data of different weights", against is None or _same_weights(scores, against)),
        ("data of other values or order", against is None or _same_digest(scores, against)),
    ):
        if not agree:
            raise ValueError(f"the two must be scored on the same data, got {what}")
    restarts, others = range(len(ours[0])), range(len(theirs[0]))
    rows = []
    for one, other in combinations(restarts, 2) if against is None else product(restarts, others):
        difference = ours[0][one] - theirs[0][other]
        error = np.hypot(ours[1][one], theirs[1][other])
        average, stderr = mean(difference, scores.weights), stderr_of_mean(difference, error, scores.weights)
        z = average / stderr if stderr > 0 else np.nan
        rows.append({"restart": one, "against": other, "difference": average, "stderr": stderr, "z": z})
    return pd.DataFrame(rows, columns=["restart", "against", "difference", "stderr", "z"])


def _by_restart(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods and their standard errors, each ``[restarts, data]``."""
    restarts = scores.table.restart.nunique()
    log_p, stderr = (scores.table[name].to_numpy().reshape(restarts, -1) for name in ("log_likelihood", "stderr"))
    return log_p, stderr


def _same_weights(one: Scores, other: Scores) -> bool:
    if one.weights is None or other.weights is None:
        return one.weights is other.weights
    return bool(np.allclose(one.weights, other.weights))


def _same_digest(one: Scores, other: Scores) -> bool:
    return None in (one.data_digest, other.data_digest) or one.data_digest == other.data_digest
