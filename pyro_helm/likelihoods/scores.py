"""``log_likelihood``: how probable data are under a model, per datum, with error and warnings, as tidy frames."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from pyro_helm.data import check_binary
from pyro_helm.likelihoods.exact import exact
from pyro_helm.likelihoods.importance import importance
from pyro_helm.particles import Program
from pyro_helm.placement import forked_rng, placement

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
    sizes = getattr(model, "sizes", None)
    check_binary(data, name="data", width=None if sizes is None else sizes[0])
    x = data.to(**placement(model))
    if weights is not None and (weights.shape != data.shape[:1] or not bool((weights >= 0).all())):
        raise ValueError(
            f"weights must be {len(data)} non-negative numbers, one per row of data; got shape {list(weights.shape)}"
        )
    if method == "exact":
        log_p = exact(model, x)  # type: ignore[arg-type]
        columns = {"log_likelihood": log_p, "stderr": torch.zeros_like(log_p)}
    else:
        if guide is None:
            raise ValueError('method="importance" needs a guide to draw from, got None')
        with forked_rng(seed, x.device):
            columns = importance(model, guide, x, num_samples=num_samples)._asdict()
    restarts, num_data = columns["log_likelihood"].shape
    index = pd.MultiIndex.from_product([range(restarts), range(num_data)], names=["restart", "datum"])
    table = pd.DataFrame(
        {name: value.double().cpu().numpy().ravel() for name, value in columns.items()}, index=index
    ).reset_index()
    return Scores(table, _summary(table, weights, num_samples))


def _summary(table: pd.DataFrame, weights: Tensor | None, num_samples: int) -> pd.DataFrame:
    rows = []
    for restart, group in table.groupby("restart"):
        if weights is None:
            mean = group.mean()
            stderr = group.log_likelihood.sem()
        else:
            weight = (weights / weights.sum()).double().cpu().numpy()
            mean = group.mul(weight, axis=0).sum()
            stderr = float((weight**2 * group.stderr**2).sum() ** 0.5)
        row = {"restart": restart, "log_likelihood": mean.log_likelihood, "stderr": stderr}
        if "ess" in group:
            row |= {"elbo": mean.elbo, "ess": group.ess.median(), "warnings": _warnings(group, num_samples)}
        else:
            row["warnings"] = ""
        rows.append(row)
    return pd.DataFrame(rows)


def _warnings(group: pd.DataFrame, num_samples: int) -> str:
    """Say when an importance-sampling estimate should not be believed."""
    few = float((group.ess < 10).mean())
    if num_samples < 10 or few > 0.05:
        return (
            f"{few:.0%} of the data have an effective sample size below 10 of {num_samples}: the log-likelihood is "
            "likely too low and its error understated; use more samples or a better guide"
        )
    return ""
