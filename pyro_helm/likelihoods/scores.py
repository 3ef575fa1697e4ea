"""``log_likelihood``: how probable data are under a model, per datum, with error and warnings, as tidy frames."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor

from pyro_helm.data.named_observations import DataLike, observed_data
from pyro_helm.latents.excluded_states import states_missed
from pyro_helm.likelihoods.ais import annealed_importance_sampling, check_annealed
from pyro_helm.likelihoods.annealing import temperatures
from pyro_helm.likelihoods.exact import exact_log_likelihood
from pyro_helm.likelihoods.fingerprints import fingerprint
from pyro_helm.likelihoods.importance import ImportanceEstimate, importance_sampling
from pyro_helm.likelihoods.resumable import by_chunks
from pyro_helm.likelihoods.score_tables import per_restart_and_datum, summarise
from pyro_helm.programs.layered import check_sizes_agree
from pyro_helm.programs.module_state import evaluating
from pyro_helm.programs.observations import check_data
from pyro_helm.programs.packed import as_rows
from pyro_helm.programs.param_store import stores_apart
from pyro_helm.programs.particles import Program
from pyro_helm.programs.rows import Rows, may_be_divided
from pyro_helm.runtime.arguments import at_least_one, checked_seed, flag
from pyro_helm.runtime.device import check_scored
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.runtime.shown import Card, Shown, grouped_warnings
from pyro_helm.runtime.tables import write_table

METHODS = ("importance", "exact", "ais")
"""Methods of :func:`log_likelihood` by name."""

_ROWS_AT_ONCE = {"importance": 1000, "ais": 100}


@dataclass(frozen=True, repr=False)
class Scores(Shown):
    """Log-likelihoods in nats.

    Attributes:
        table: one row per restart and datum: ``restart, datum, log_likelihood, stderr``; of estimates also ``ess,
            khat, stderr_bootstrap, bound_half, bound_quarter, jackknife``, and of importance sampling ``elbo``, see
            :mod:`pyro_helm.likelihoods.importance`. NaN where no estimate is available; `warnings` gives the reason.
        summary: one row per restart: ``restart, log_likelihood, mean, stderr, warnings``, of estimates also the
            same but for ``stderr_bootstrap``; means over the data (``mean`` is ``log_likelihood`` by
            another name), the medians for ``ess`` and ``khat``. ``stderr`` is that of the mean over cases drawn at
            random; for listed patterns with ``weights`` there is no such chance, and it is the sampling error of the
            estimate alone.
        weights: ``[data]``, what each datum counts for in the means; None for all alike.
        data_digest: tells scores of other data from these; None where it is not known.

    """

    table: pd.DataFrame
    summary: pd.DataFrame
    weights: np.ndarray | None = None
    data_digest: str | None = None

    def _card(self) -> Card:
        num_data, restarts = self.table.datum.nunique(), len(self.summary)
        what = f"{num_data} data" if self.weights is None else f"a distribution over {num_data} patterns"
        method = "exact" if "ess" not in self.summary else "importance sampling" if "elbo" in self.summary else "AIS"
        values = self.summary.log_likelihood
        facts = [f"{restarts} restarts: median {values.median():.3f}, best {values.max():.3f}"] * (restarts > 1)
        shown = ["restart", "log_likelihood", "stderr", "elbo", "ess", "khat"]
        table = self.summary[[name for name in shown if name in self.summary]]
        notes = grouped_warnings(zip(self.summary.restart, self.summary.warnings, strict=True))
        return Card(f"Scores: mean log-likelihood of {what} in nats per datum, {method}", facts,
                    table.sort_values("log_likelihood", ascending=False), notes)  # fmt: skip

    def write(self, stem: str | Path) -> None:
        """Write ``STEM.parquet`` and ``STEM.csv``, the table, and ``STEM-summary.parquet`` and ``.csv``."""
        write_table(self.table, stem)
        write_table(self.summary, f"{stem}-summary")

    def to_arviz(self, restart: int = 0) -> Any:
        """ArviZ's data of one restart, with a group ``log_likelihood`` of one chain, one draw and all data.

        They are an InferenceData, from ArviZ 1 on a DataTree. With one draw WAIC, which ArviZ has up to 0.23, has no
        penalty, so that ``arviz.compare({...}, ic="waic")`` ranks models by their held-out log-likelihood, with the
        error of paired differences (``dse``) and stacking weights.

        Raises:
            ImportError: if ArviZ is not installed.
            ValueError: for a restart that does not exist, or scores of the patterns of a distribution.

        >>> scores = log_likelihood(BeliefNetwork((6, 4), seed=0), None, torch.ones(2, 6), method="exact")
        >>> dict(scores.to_arviz().log_likelihood["x"].sizes)
        {'chain': 1, 'draw': 1, 'datum': 2}
        """
        if self.weights is not None:
            raise ValueError("ArviZ compares models on cases, but these are patterns with weights; score test cases")
        values = self.table.loc[self.table.restart == restart, "log_likelihood"].to_numpy()
        if not len(values):
            raise ValueError(f"there is no restart {restart}; there are {self.table.restart.nunique()}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of ArviZ, on its own future
            try:
                import arviz
            except ImportError as error:
                raise ImportError("conversion to ArviZ needs it installed: pip install pyro-helm[arviz]") from error
            groups = {"log_likelihood": {"x": values[None, None]}}
            if int(arviz.__version__.split(".")[0]) >= 1:  # which takes groups in one mapping, and gives a DataTree
                return arviz.from_dict(groups, dims={"x": ["datum"]})
            return arviz.from_dict(**groups, dims={"x": ["datum"]})


def log_likelihood(
    model: Program,
    guide: Program | None,
    data: DataLike,
    *,
    method: str = "importance",
    num_samples: int = 1000,
    num_chains: int = 16,
    schedule: int | Sequence[float] = 1000,
    start: str = "guide",
    max_terms: int | None = None,
    weights: Tensor | None = None,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: bool = False,
    rows: Rows | None = None,
) -> Scores:
    """Log-likelihood of each datum under each restart of a model.

    Programs run in evaluation mode, and are left in the mode they had; calls from several threads run one after
    another.

    Args:
        model: Pyro model that takes ``observations={"x": ...}``.
        guide: its guide, or any proposal; may be None for ``"exact"``, and for ``"ais"`` from the prior.
        data: ``[data, units]``, of what the model's observed sites can take, NaN where missing: a tensor, numpy array
            or pandas DataFrame; observations by name with the data in front, ``{"x": ..., "label": ...}``; a map-style
            ``torch.utils.data.Dataset`` of them; or a :class:`PatternDistribution`, with its probabilities as
            ``weights``.
        method: ``"importance"`` (any model and guide), ``"exact"`` (a belief network, or Bernoulli and Categorical
            sites, of few enough states) or ``"ais"`` (a belief network).
        num_samples: importance samples per datum and restart; memory does not grow with them.
        num_chains: chains of ``"ais"`` per datum and restart.
        schedule: steps of each chain, or inverse temperatures from 0 to 1.
        start: where chains begin, ``"guide"`` or ``"prior"``.
        max_terms: of ``"exact"``; more are refused. None for what takes some minutes.
        weights: probability of each row where ``data`` lists the patterns of a distribution, for the means.
        seed: of the samples; the caller's random state is left alone.
        resume: folder that keeps each chunk of data when it is done; the same call again goes on from there. Not for
            ``"exact"``.
        progress: show a progress bar on standard error; ``"exact"`` has none.
        rows: ``"independent"`` lets the library show the programs some of the rows at a time, in any order, and equal
            ones once: right where a row is all that they know of a datum. ``"together"`` shows them all rows, once
            per pass and in the order of ``data``, as a program needs that knows something of each row: its length,
            mask or label. Samples and states are then what is divided to keep memory in bounds, and ``resume`` keeps
            one chunk. None, the default: independent for a :class:`BeliefNetwork` with a
            :class:`FactorialRecognition` or a proposal made of them, together for all other programs.

    Raises:
        ValueError: for data that are not zeros and ones or of another width, an unknown method, settings out of range,
            or too many states for ``"exact"``.
        TypeError: for a model that the method can't take.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> log_likelihood(model, None, torch.ones(2, 6), method="exact").summary.log_likelihood.item() < 0
    True
    """
    check_scored(model, guide)
    seed, progress = checked_seed(seed), flag("progress", progress)
    if not isinstance(resume, (str, os.PathLike, NoneType)):
        raise TypeError(f"resume must be the path of a folder, got {resume!r}")
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    if method == "exact" and resume is not None:
        raise ValueError('method="exact" has no chunks to resume from; leave resume out')
    divided = may_be_divided(rows, model, guide)
    observations, weights = observed_data(data, weights)
    with evaluating(model, guide), stores_apart(model, guide):
        check_data(model, observations, divided=divided)
        check_sizes_agree(model, guide)
        model, guide, x = as_rows(model, guide, observations)
        data = observations["x"] if set(observations) == {"x"} else x
        per_datum = None if weights is None else _checked_weights(weights, len(data))
        if method == "exact":
            log_p = exact_log_likelihood(model, x, max_terms=max_terms, rows=rows)
            return _scores({"log_likelihood": log_p, "stderr": torch.zeros_like(log_p)}, data, per_datum, method, 0)
        if method == "importance":
            settings = _importance_settings(guide, num_samples)
        else:
            settings = _ais_settings(model, guide, num_chains, schedule, start)
        columns = by_chunks(
            lambda some: _estimates(method, model, guide, some, settings, rows),
            x,
            rows_at_once=_ROWS_AT_ONCE[method] if divided else len(x),
            seed=seed,
            resume=None if resume is None else Path(resume),
            settings={"method": method, **_kept(resume, model, guide, x, divided), **settings},
            progress=progress,
        )
    return _scores(
        columns, data, per_datum, method, settings["num_samples" if method == "importance" else "num_chains"]
    )


_ESTIMATORS: dict[str, Callable[..., ImportanceEstimate]] = {
    "importance": importance_sampling,
    "ais": annealed_importance_sampling,
}


def _estimates(
    method: str, model: Program, guide: Program | None, x: Tensor, settings: dict[str, Any], rows: Rows | None
) -> dict[str, Tensor]:
    if method == "ais":
        columns = _ESTIMATORS[method](model, guide, x, **settings)._asdict()
        del columns["elbo"]  # the guide's it is not
        return columns
    assert guide is not None
    columns = _ESTIMATORS[method](model, guide, x, rows=rows, **settings)._asdict()
    # after the estimate, whose draws do not depend on it then
    with torch.no_grad(), pyro.validation_enabled(False):
        return columns | {"missed": states_missed(model, guide, x, rows=rows)}


def _kept(resume: str | Path | None, model: Program, guide: Program | None, x: Tensor, divided: bool) -> dict[str, str]:
    """What tells the chunks of one estimate from those of another."""
    if resume is None:
        return {}
    with forked_rng(0, x.device), torch.no_grad(), pyro.validation_enabled(False):
        for program in (model, guide):
            if program is not None:  # functions have their parameters only when they have run
                program(observations={"x": x[:1] if divided else x})
    return {"model, guide and data": fingerprint(model, guide, x)}


def _scores(columns: dict[str, Tensor], data: Tensor, weights: np.ndarray | None, method: str, number: int) -> Scores:
    """The frames; where the guide misses a part of the posterior, or parameters are broken, nothing is a number."""
    missed = columns.get("missed", torch.zeros_like(columns["log_likelihood"], dtype=torch.bool))
    none = missed | columns["log_likelihood"].isnan()
    names = [name for name in ImportanceEstimate._fields if name in columns]
    table = per_restart_and_datum({name: columns[name].masked_fill(none, torch.nan) for name in names})
    # the same whatever type a model has its parameters in
    digest = hashlib.sha256(
        repr(tuple(data.shape)).encode() + data.detach().cpu().float().contiguous().numpy().tobytes()
    )
    return Scores(table, summarise(table, weights, method, number, missed), weights, digest.hexdigest())


def _importance_settings(guide: Program | None, num_samples: int) -> dict[str, Any]:
    if guide is None:
        raise ValueError('method="importance" needs a guide to draw from, got None')
    return {"num_samples": at_least_one("num_samples", num_samples)}


def _ais_settings(
    model: Program, guide: Program | None, num_chains: int, schedule: int | Sequence[float], start: str
) -> dict[str, Any]:
    check_annealed(model, guide, num_chains, start)  # refuses what can't be annealed
    return {"num_chains": int(num_chains), "schedule": temperatures(schedule), "start": start}


def _checked_weights(given: Any, num_rows: int) -> np.ndarray:
    try:
        weights = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"weights must be a tensor or list of numbers, got {type(given).__name__}: {error}") from error
    usable = weights.shape == (num_rows,) and bool((weights >= 0).all()) and 0 < float(weights.sum()) < float("inf")
    if not usable:
        raise ValueError(
            f"weights must be {num_rows} non-negative numbers, one per row of data and not all 0; got shape "
            f"{list(weights.shape)}"
        )
    share = weights.double()
    normalised: np.ndarray = (share / share.sum()).cpu().numpy()
    return normalised
