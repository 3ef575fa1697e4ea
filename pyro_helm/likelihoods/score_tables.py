"""From estimates per datum to tidy frames: one row per restart and datum, and one row per restart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from pyro_helm.likelihoods.reliability import warning
from pyro_helm.runtime.tables import outermost

_MEDIANS = ("ess", "khat")


def per_restart_and_datum(columns: Mapping[str, Tensor]) -> pd.DataFrame:
    """Frame with one row per restart and datum of values ``[restarts, data]``."""
    restarts, num_data = next(iter(columns.values())).shape
    index = pd.MultiIndex.from_product([range(restarts), range(num_data)], names=["restart", "datum"])
    values = {name: value.double().cpu().numpy().ravel() for name, value in columns.items()}
    return pd.DataFrame(values, index=index).reset_index()


def summarise(
    table: pd.DataFrame, weights: np.ndarray | None, method: str, number: int, missed: Tensor | None = None
) -> pd.DataFrame:
    """Frame with one row per restart: means over the data, medians of what has no mean, and warnings.

    Args:
        table: one row per restart and datum.
        weights: ``[data]``, or None for all alike.
        method: of the estimates.
        number: of samples or chains.
        missed: where the guide gives probability zero to states of the posterior, ``[restarts, data]``.

    """
    rows: list[dict[str, Any]] = []
    for restart, group in table.groupby("restart"):
        columns = {str(name): group[name].to_numpy() for name in group if name not in ("restart", "datum")}
        row: dict[str, Any] = {"restart": restart}
        for name, values in columns.items():
            if name == "stderr":
                row["stderr"] = stderr_of_mean(columns["log_likelihood"], values, weights)
            elif name != "stderr_bootstrap":
                row[name] = float(np.median(values)) if name in _MEDIANS else mean(values, weights)
        row["mean"] = row["log_likelihood"]
        unseen = None if missed is None else missed[len(rows)].cpu().numpy()
        rows.append(row | {"warnings": warning(columns, method, number, weights=weights, missed=unseen)})
    return outermost(pd.DataFrame(rows), ["restart", "log_likelihood", "elbo"], ["mean", "khat", "ess", "stderr"])


def mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    """Mean over the data, each counting for its weight."""
    if weights is None:
        return float(values.mean())
    counted = weights > 0  # what is impossible and counts for nothing is nothing
    return float(weights[counted] @ values[counted])


def stderr_of_mean(values: np.ndarray, stderr: np.ndarray, weights: np.ndarray | None) -> float:
    """Standard error of :func:`mean`: over cases drawn at random, or of the samples where there is no such chance."""
    if not np.isfinite(values).all():
        return math.nan
    if weights is None and len(values) > 1:
        return float(values.std(ddof=1) / len(values) ** 0.5)
    share = np.ones(1) if weights is None else weights
    return float((share**2 * stderr**2).sum() ** 0.5)
