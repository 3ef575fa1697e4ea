"""Both sides of a log-likelihood: bidirectional Monte Carlo on data that the model has dreamt.

A dream comes with an exact draw of its posterior, from which annealing backwards gives an upper bound; annealing
forwards gives a lower one. Where they meet, the forward estimate can be trusted on that model with those settings, and
what importance sampling falls short of is known.

References:
    Grosse, Ghahramani & Adams 2015, `Sandwiching the marginal likelihood using bidirectional Monte Carlo
    <https://arxiv.org/abs/1511.02543>`__.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyro_helm.likelihoods.ais import annealed_importance_sampling, check_annealed, reverse_ais
from pyro_helm.likelihoods.importance import importance_sampling
from pyro_helm.likelihoods.score_tables import per_restart_and_datum
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.layered import check_sizes_agree, site_names
from pyro_helm.programs.module_state import evaluating
from pyro_helm.programs.param_store import stores_apart
from pyro_helm.programs.particles import Program
from pyro_helm.programs.rows import Rows
from pyro_helm.runtime.arguments import at_least_one, checked_seed
from pyro_helm.runtime.device import check_scored, placement
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.runtime.shown import Card, Shown, grouped_warnings
from pyro_helm.runtime.tables import outermost, write_table

TRUSTED = 0.1
"""Width of the sandwich, in nats, and twice its standard error, up to which an estimate is called close."""


@dataclass(frozen=True, repr=False)
class Gap(Shown):
    """The sandwich on data dreamt by a model, in nats.

    Attributes:
        table: one row per restart and dream: ``restart, datum, lower, upper, gap``, and with a guide ``importance,
            shortfall``. ``lower`` and ``upper`` are stochastic bounds, below and above the truth on average, so that a
            single ``gap = upper - lower`` may be negative; ``shortfall = upper - importance``.
        summary: one row per restart: the means of these, ``gap_stderr``, ``shortfall_stderr``, and ``verdict``, which
            says in words whether the forward estimates may be trusted, or that there are too few dreams to tell.

    """

    table: pd.DataFrame
    summary: pd.DataFrame

    def _card(self) -> Card:
        shown = ["restart", "lower", "upper", "gap", "gap_stderr", "importance", "shortfall", "shortfall_stderr"]
        table = self.summary[[name for name in shown if name in self.summary]]
        title = f"Gap: log p of {self.table.datum.nunique()} dreams between two bounds, mean in nats per datum"
        verdicts = zip(self.summary.restart, self.summary.verdict, strict=True)
        return Card(title, grouped_warnings(verdicts), table)

    def write(self, stem: str | Path) -> None:
        """Write ``STEM.parquet`` and ``STEM.csv``, the table, and ``STEM-summary.parquet`` and ``.csv``."""
        write_table(self.table, stem)
        write_table(self.summary, f"{stem}-summary")


def log_likelihood_gap(
    model: Program,
    guide: Program | None,
    *,
    num_data: int = 100,
    num_samples: int = 1000,
    num_chains: int = 16,
    schedule: int | Sequence[float] = 1000,
    start: str = "guide",
    seed: int = 0,
    rows: Rows | None = None,
) -> Gap:
    """Bound ``log p(x)`` from below and above, on data that the model dreams.

    Args:
        model: a :class:`BeliefNetwork`.
        guide: its guide, judged as a proposal of importance sampling; None to judge annealing from the prior alone.
        num_data: dreams per restart.
        num_samples: importance samples per dream.
        num_chains: chains per dream, in either direction.
        schedule: steps of each chain, or inverse temperatures from 0 to 1.
        start: where forward chains begin, ``"guide"`` or ``"prior"``.
        seed: of dreams, samples and chains; the caller's random state is left alone.
        rows: as for :func:`~pyro_helm.likelihoods.scores.log_likelihood`, of the dreams that the guide is shown.

    Raises:
        TypeError: for another model, or a guide that can't be annealed from.
        ValueError: for settings out of range.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> gap = log_likelihood_gap(model, guide, num_data=20, num_samples=100, schedule=50)
    >>> gap.summary.verdict.item().split(":")[0]
    'annealing and importance sampling can be trusted'
    """
    check_scored(model, guide)
    seed = checked_seed(seed)
    num_data, num_samples = at_least_one("num_data", num_data), at_least_one("num_samples", num_samples)
    check_annealed(model, guide, num_chains, start)
    assert isinstance(model, BeliefNetwork)
    if model.condition is not None:
        raise TypeError(
            "log_likelihood_gap scores dreams, and a model with a condition needs a label for each dream; use "
            'log_likelihood(..., method="ais") on data with their labels'
        )
    check_sizes_agree(model, guide)
    settings: dict[str, Any] = {"num_chains": num_chains, "schedule": schedule, "start": start}
    device = placement(model)["device"]
    with (
        stores_apart(model, guide),
        evaluating(model, guide),
        forked_rng(seed, device),
        torch.no_grad(),
        pyro.validation_enabled(False),
    ):
        units = dream(model, num_data)
        lower = annealed_importance_sampling(model, guide, units[0], **settings).log_likelihood
        upper = reverse_ais(model, guide, units, **settings)
        columns = {"lower": lower, "upper": upper, "gap": upper - lower}
        if guide is not None:
            sampled = importance_sampling(model, guide, units[0], num_samples=num_samples, rows=rows).log_likelihood
            columns |= {"importance": sampled, "shortfall": upper - sampled}
    table = per_restart_and_datum(columns)
    return Gap(table, _summary(table))


def dream(model: BeliefNetwork, num_data: int) -> list[Tensor]:
    """Joint draws ``[x, h1, h2, ...]`` of the model, each ``[restarts, data, units]``."""
    trace = poutine.trace(model).get_trace(num_data=num_data)
    return [
        trace.nodes[name]["value"].reshape(model.restarts, num_data, width)
        for name, width in zip(site_names(model.sizes), model.sizes, strict=True)
    ]


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    columns = [name for name in table if name not in ("restart", "datum")]
    groups = table.groupby("restart")
    summary = groups[columns].mean()
    for name in ("gap", "shortfall"):
        if name in table:
            summary[f"{name}_stderr"] = groups[name].sem()
    summary["verdict"] = [_verdict(row) for row in summary.to_dict("records")]
    summary = summary.reset_index()
    ends = ["restart", "lower", "upper", "importance"], ["shortfall_stderr", "shortfall", "gap_stderr", "gap"]
    return outermost(summary, *ends)


def _verdict(row: dict[Any, float]) -> str:
    """Whether the forward estimates may be trusted."""
    gap = f"the sandwich is {row['gap']:.3f} ± {row['gap_stderr']:.3f} nats wide on average"
    annealing = _within(row["gap"], row["gap_stderr"])
    if annealing is None:
        return f"too few dreams to tell: {gap}; use more dreams"
    if not annealing:
        return f"annealing can't be trusted: {gap}; use a longer schedule or more chains"
    if "shortfall" not in row:
        return f"annealing can be trusted: {gap}"
    short = f"{row['shortfall']:.3f} ± {row['shortfall_stderr']:.3f} nats"
    importance_sampling = _within(row["shortfall"], row["shortfall_stderr"])
    if importance_sampling is None:
        return (
            f"annealing can be trusted, too few dreams to tell of importance sampling: {gap}, the latter short by "
            f"{short}; use more dreams"
        )
    if not importance_sampling:
        return (
            f"annealing can be trusted, importance sampling can't: {gap}, and the latter falls short by {short}; "
            'use method="ais", more samples or a better guide'
        )
    return f"annealing and importance sampling can be trusted: {gap}, the latter short by {short}"


def _within(difference: float, stderr: float) -> bool | None:
    """Whether a difference is small enough to be trusted; None where its error leaves that open."""
    if abs(difference) + 2 * stderr < TRUSTED:
        return True
    return False if abs(difference) - 2 * stderr >= TRUSTED else None
