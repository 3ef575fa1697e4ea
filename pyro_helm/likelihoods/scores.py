"""``log_likelihood``: how probable data are under a model, per datum, with error and warnings, as tidy frames."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyro_helm.data import check_binary
from pyro_helm.layers import check_sizes_agree, visible_units
from pyro_helm.likelihoods.exact import exact
from pyro_helm.likelihoods.importance import importance
from pyro_helm.particles import Program
from pyro_helm.placement import forked_rng, own_param_store, placement

METHODS = ("importance", "exact")


@dataclass(frozen=True)
class Scores:
    """Log-likelihoods in nats.

    Attributes:
        table: one row per restart and datum: ``restart, datum, log_likelihood, stderr, ess, elbo``.
        summary: one row per restart: ``restart, log_likelihood, stderr, elbo, ess, warnings``; means over the data,
            the median for ``ess``. ``stderr`` is that of the mean over cases drawn at random; for listed patterns
            with ``weights`` there is no such chance, and it is the sampling error of the estimate alone.

    """

    table: pd.DataFrame
    summary: pd.DataFrame


def log_likelihood(
    model: Program,
    guide: Program | None,
    data: Tensor,
    *,
    method: str = "importance",
    num_samples: int = 1000,
    weights: Tensor | None = None,
    seed: int = 0,
) -> Scores:
    """Log-likelihood of each datum under each restart of a model.

    Args:
        model: Pyro model that takes ``observations={"x": ...}``.
        guide: its guide; may be None for ``method="exact"``.
        data: ``[data, units]`` of zeros and ones.
        method: ``"importance"`` (any model and guide) or ``"exact"`` (a belief network of at most 20 hidden units).
        num_samples: importance samples per datum and restart; memory does not grow with them.
        weights: probability of each row where ``data`` lists the patterns of a distribution, for the means.
        seed: of the importance samples; the caller's random state is left alone.

    Raises:
        ValueError: for data that are not zeros and ones or of another width, an unknown method, or bad weights.
        TypeError: for ``method="exact"`` with a model that is not a belief network.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> log_likelihood(model, None, torch.ones(2, 6), method="exact").summary.log_likelihood.item() < 0
    True
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    check_binary(data, name="data", width=visible_units(model))
    check_sizes_agree(model, guide)
    x = data.to(**placement(model))
    weights = None if weights is None else _checked_weights(torch.as_tensor(weights), len(data))
    if method == "exact":
        log_p = exact(model, x)
        columns = {"log_likelihood": log_p, "stderr": torch.zeros_like(log_p)}
    else:
        if guide is None:
            raise ValueError('method="importance" needs a guide to draw from, got None')
        with forked_rng(seed, x.device), _stores_apart(model, guide):
            columns = importance(model, guide, x, num_samples=num_samples)._asdict()
    restarts, num_data = columns["log_likelihood"].shape
    index = pd.MultiIndex.from_product([range(restarts), range(num_data)], names=["restart", "datum"])
    table = pd.DataFrame(
        {name: value.double().cpu().numpy().ravel() for name, value in columns.items()}, index=index
    ).reset_index()
    return Scores(table, _summary(table, weights, num_samples))


def _checked_weights(weights: Tensor, num_rows: int) -> Tensor:
    usable = weights.shape == (num_rows,) and bool((weights >= 0).all()) and 0 < float(weights.sum()) < float("inf")
    if not usable:
        raise ValueError(
            f"weights must be {num_rows} non-negative numbers, one per row of data and not all 0; got shape "
            f"{list(weights.shape)}"
        )
    return weights


def _stores_apart(model: Program, guide: Program) -> AbstractContextManager[Any]:
    # functions keep their parameters in the global store, modules have their own
    modules = isinstance(model, torch.nn.Module) and isinstance(guide, torch.nn.Module)
    return own_param_store() if modules else nullcontext()


def _summary(table: pd.DataFrame, weights: Tensor | None, num_samples: int) -> pd.DataFrame:
    rows = []
    for restart, group in table.groupby("restart"):
        columns = {str(name): group[name].to_numpy() for name in group if name not in ("restart", "datum")}
        # the sampling error of each datum, which is all there is to the mean over a listed distribution
        weight = np.full(len(group), 1 / len(group)) if weights is None else weights.double().cpu().numpy()
        weight = weight / weight.sum()
        sampling_error = float((weight**2 * columns["stderr"] ** 2).sum() ** 0.5)
        over_cases = weights is None and len(group) > 1
        row: dict[str, Any] = {
            "restart": restart,
            "log_likelihood": float(weight @ columns["log_likelihood"]),
            "stderr": float(columns["log_likelihood"].std(ddof=1) / len(group) ** 0.5)
            if over_cases
            else sampling_error,
        }
        if "ess" in columns:
            row |= {"elbo": float(weight @ columns["elbo"]), "ess": float(np.median(columns["ess"]))}
        rows.append(row | {"warnings": _warnings(columns, num_samples)})
    return pd.DataFrame(rows)


def _warnings(columns: dict[str, Any], num_samples: int) -> str:
    """Say when an estimate should not be believed."""
    broken = float(np.mean(~np.isfinite(columns["log_likelihood"])))
    if broken:
        return f"{broken:.0%} of the data have no finite log-likelihood: parameters are broken or the guide misses it"
    few = float(np.mean(columns["ess"] < 10)) if "ess" in columns else 0.0
    if few > 0.05:
        return (
            f"{few:.0%} of the data have an effective sample size below 10 of {num_samples}: the log-likelihood is "
            "likely too low and its error understated; use more samples or a better guide"
        )
    return ""
