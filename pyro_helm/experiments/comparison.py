"""``compare``: train machines with several schemes and imaging models, many restarts each, and tabulate them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import signature
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from pyro_helm.data.sets import Data
from pyro_helm.experiments.ranking import ranking_card
from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods import log_likelihood
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.arguments import at_least_one, checked_seed
from pyro_helm.runtime.shown import Card, Shown
from pyro_helm.runtime.tables import tidy, write_table
from pyro_helm.schemes import Intractable, Scheme
from pyro_helm.training.checks import made_folder
from pyro_helm.training.fitting import fit
from pyro_helm.training.result import Result
from pyro_helm.training.steps import STEPS


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """What a comparison measured.

    Attributes:
        table: tidy frame with the columns of :data:`pyro_helm.runtime.tables.COLUMNS`: the history of every machine,
            and after its training the metrics ``elbo``, ``log_likelihood`` (nats per datum, on the exact distribution
            where the data set has one, else on its test cases) and ``failed`` (0 or 1) of every restart.
        summary: one row per scheme and imaging model, best first; see :func:`summarise`.
        interrupted: whether Ctrl-C ended it early.

    """

    table: pd.DataFrame
    summary: pd.DataFrame
    interrupted: bool

    def _card(self) -> Card:
        return ranking_card(self.summary, interrupted=self.interrupted)


def compare(
    data: Data,
    *,
    schemes: Sequence[Scheme],
    sizes: Sequence[int],
    imaging: str | Sequence[str] = "sigmoid",
    fixed_leak: float | None = None,
    restarts: int = 8,
    num_samples: int = 1000,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Any,
) -> Comparison:
    """Train a belief network and a factorial recognition network with every scheme and imaging model.

    Machines of one imaging model start from the same initial values under every scheme. Ctrl-C ends the comparison
    with what there is. A scheme for which the machines have too many states is left out with a warning.

    Args:
        data: data set with ``train``, ``valid`` and ``test``.
        schemes: inference schemes, no two of one name.
        sizes: units per layer, bottom to top; the first must be the width of the data.
        imaging: imaging models, one or several.
        fixed_leak: as for :class:`BeliefNetwork`.
        restarts: machines per scheme and imaging model.
        num_samples: importance samples per datum of the final log-likelihoods.
        seed: of initial values, minibatches and draws.
        out: folder for ``results.parquet``, ``results.csv`` and, in a folder ``IMAGING-SCHEME`` each, the machines;
            written after every machine, each file whole or not at all.
        settings: further arguments of :func:`pyro_helm.fit`; a scheme whose steps can't be captured takes eager ones.

    Raises:
        ValueError: for settings out of range, or schemes or imaging models that are none or named twice.
        Intractable: if that leaves no scheme.

    >>> data = load_data("digits")
    >>> schemes = [WakeSleep(), ReweightedWakeSleep(5)]
    >>> settings = {"restarts": 2, "num_epochs": 1, "num_samples": 10, "progress": False}
    >>> sorted(compare(data, schemes=schemes, sizes=(64, 8), **settings).summary.scheme)
    ['reweighted_wake_sleep', 'wake_sleep']
    """
    imaging = _checked_imaging(imaging)
    schemes = _checked_schemes(schemes)
    if not isinstance(data, Data):
        raise TypeError(f"data must be a data set, such as load_data('digits') gives, got {data!r:.60}")
    _check_settings(settings)
    names = [scheme.name for scheme in schemes]
    for what, given in (("schemes", names), ("imaging models", imaging)):
        if not given or len(set(given)) < len(given):
            raise ValueError(
                f"{what} to compare must be one or more, each named once; got {', '.join(given) or 'none'}"
            )
    num_samples, seed = at_least_one("num_samples", num_samples), checked_seed(seed)
    folder = None if out is None else made_folder(out)
    rows: list[pd.DataFrame] = []
    interrupted = False
    refused: Intractable | None = None
    try:
        for name, scheme in product(imaging, schemes):
            # a kind of step that there is not is left for fit to refuse
            eager = {"step": "eager"} if not scheme.captures and settings.get("step") in STEPS else {}
            try:
                result = fit(
                    BeliefNetwork(sizes, name, restarts=restarts, fixed_leak=fixed_leak, seed=seed),
                    FactorialRecognition(sizes, restarts=restarts, seed=seed),
                    data.train,
                    scheme=scheme,
                    valid=data.valid,
                    seed=seed,
                    dataset=data.name,
                    out=None if folder is None else folder / f"{name}-{scheme.name}",
                    **(settings | eager),
                )
            except Intractable as error:
                refused = error
                warnings.warn(f"{scheme.name} is left out: {error}", RuntimeWarning, stacklevel=2)
                continue
            interrupted = result.interrupted
            if not result.history.empty:
                rows += [result.history, _final(result, data, num_samples, seed)]
            if folder is not None and rows:
                write_table(pd.concat(rows, ignore_index=True), folder / "results")
            if interrupted:
                break
    except KeyboardInterrupt:  # while scoring; fit has its own
        interrupted = True
    if refused is not None and not rows and not interrupted:
        raise refused
    table = pd.concat(rows, ignore_index=True) if rows else tidy([])
    return Comparison(table, summarise(table), interrupted)


def _checked_imaging(imaging: Any) -> tuple[str, ...]:
    is_several = isinstance(imaging, Iterable) and not isinstance(imaging, str)
    names = tuple(imaging) if is_several else (imaging,)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"imaging must be the name of an imaging model, or several, got {imaging!r}")
    return names


def _checked_schemes(schemes: Any) -> list[Scheme]:
    expected = "schemes must be a list of schemes such as [VIMCO(5), WakeSleep()]"
    if isinstance(schemes, (str, Scheme)) or not isinstance(schemes, Iterable):
        raise TypeError(f"{expected}, got {schemes!r}")
    chosen = list(schemes)
    for scheme in chosen:
        if not isinstance(scheme, Scheme):
            raise TypeError(f"{expected}, got {scheme!r} in it")
    return chosen


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what fit does not take, or compare gives it."""
    ours = {"model", "guide", "data", "scheme", "valid", "seed", "dataset", "out"}
    known = [name for name in signature(fit).parameters if name not in ours]
    for name in settings:
        if name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise TypeError(f"compare takes no setting {name!r}{hint} Those that it hands to fit: {', '.join(known)}")


def _final(result: Result, data: Data, num_samples: int, seed: int) -> pd.DataFrame:
    cases, weights = cases_to_score(data)
    scores = log_likelihood(
        result.model, result.guide, cases, num_samples=num_samples, weights=weights, seed=seed
    ).summary
    last = result.history.iloc[-1]
    labels = {
        name: last[name] for name in ("dataset", "model", "imaging", "sizes", "scheme", "seed", "epoch", "seconds")
    }
    return tidy(
        {**labels, "restart": restart, "metric": metric, "value": value, "stderr": stderr}
        for restart in range(len(scores))
        for metric, value, stderr in (
            ("elbo", scores.elbo[restart], None),
            ("log_likelihood", scores.log_likelihood[restart], scores.stderr[restart]),
            ("failed", float(result.summary.failed[restart]), None),
        )
    )


def cases_to_score(data: Data) -> tuple[Tensor, Tensor | None]:
    """Cases to score a machine on, and their weights.

    The patterns of a data set's exact distribution with their probabilities; without one, its test cases and None.
    """
    if data.distribution is None:
        return data.test, None
    return data.distribution.patterns, data.distribution.probabilities


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, scheme and imaging model of a comparison's table, best median log-likelihood first.

    Columns: ``dataset, sizes, imaging, scheme, restarts, failed``; ``log_likelihood`` and ``elbo`` (the bound -F) as
    median over the restarts that have not failed, their best as ``_best``, and the bootstrap standard error of the
    median as ``_stderr``; all in nats per datum. ``seconds`` of training per restart.

    >>> labels = {"dataset": "d", "sizes": "6-4", "imaging": "odds", "scheme": "reinforce", "seed": 0, "seconds": 1.0}
    >>> rows = [labels | {"restart": r, "metric": m, "value": v}
    ...         for r in range(3) for m, v in (("log_likelihood", -4.0 - r), ("elbo", -5.0 - r), ("failed", 0.0))]
    >>> summary = summarise(tidy(rows))
    >>> summary.log_likelihood.item(), summary.log_likelihood_best.item()
    (-5.0, -4.0)
    """
    keys = ["dataset", "sizes", "imaging", "scheme"]
    final = _checked_final(table, keys)
    rows = []
    for labels, group in final.groupby(keys, sort=False, observed=True):
        wide = group.pivot(index=["seed", "restart"], columns="metric", values="value")
        if any(metric not in wide for metric in _FINAL) or wide.failed.isna().any():
            raise ValueError(f"table lacks some of {', '.join(_FINAL)} for restarts of {' '.join(map(str, labels))}")
        kept = wide[wide.failed == 0]
        row: dict[str, Any] = {
            **dict(zip(keys, labels, strict=True)),
            "restarts": len(wide),
            "failed": int(wide.failed.sum()),
        }
        for metric in ("log_likelihood", "elbo"):
            values = kept[metric].to_numpy()
            row |= {metric: np.median(values) if len(values) else np.nan}
            row |= {f"{metric}_best": values.max(initial=-np.inf) if len(values) else np.nan}
            row |= {f"{metric}_stderr": _stderr_of_median(values)}
        row["seconds"] = group.groupby("seed").seconds.max().sum() / len(wide)
        rows.append(row)
    summary = pd.DataFrame(rows)
    return (
        summary
        if summary.empty
        else summary.sort_values(["dataset", "log_likelihood"], ascending=[True, False], ignore_index=True)
    )


_FINAL = ["elbo", "failed", "log_likelihood"]


def _checked_final(table: Any, keys: list[str]) -> pd.DataFrame:
    """The final measurements in a table; refuse what is no such table, and one value twice."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table must be a DataFrame, such as Comparison.table, got {type(table).__name__}")
    columns = [*keys, "seed", "restart", "metric", "value", "seconds"]
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"table must have the columns of a comparison's, but {', '.join(missing)} is missing")
    repeated = table.columns[table.columns.duplicated()].tolist()
    if repeated:
        raise ValueError(f"table has the column {repeated[0]!r} more than once")
    final = table[table["metric"].isin(_FINAL)].copy()
    if final.empty:
        return final
    for name in ("value", "seconds"):
        try:
            final[name] = pd.to_numeric(final[name])
        except (TypeError, ValueError) as error:
            raise ValueError(f"column {name!r} of the table must be numbers: {error}") from error
    labels = [*keys, "seed", "restart"]
    unlabelled = [name for name in labels if final[name].isna().any()]
    if unlabelled:
        raise ValueError(f"column {unlabelled[0]!r} of the table is empty in some rows; are unlike tables merged?")
    twice = final[final.duplicated([*labels, "metric"])]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"table has {row.metric} of restart {row.restart}, seed {row.seed} of {row.dataset} {row.sizes} "
            f"{row.imaging} {row.scheme} more than once; merge comparisons of other seeds, or drop duplicates"
        )
    return final


def _stderr_of_median(values: np.ndarray) -> float:
    if len(values) < 2:
        return float("nan")
    from scipy.stats import bootstrap  # late: it would add half a second to the import of this library

    drawn = bootstrap((values,), np.median, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
    return float(drawn.standard_error)
