"""``summarise``: what the table of a comparison, or of several merged, comes to."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import pandas as pd

from pyro_helm.experiments.choosing import stderr_of_median
from pyro_helm.experiments.run_plans import settings_of_training
from pyro_helm.runtime.tables import outermost
from pyro_helm.schemes import SCHEMES
from pyro_helm.training.fitting import fit


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise the table of a comparison, best median log-likelihood first.

    One row per data set, scheme, imaging model, and model and guide where they differ.

    Tables of several comparisons or studies may be merged, by pandas' ``concat``: settings that differ have columns,
    and are told apart; the same restart twice is refused.

    Columns: ``dataset, sizes, imaging, scheme, restarts, failed``; ``log_likelihood`` and ``elbo`` (the bound -F) as
    median over the restarts that have not failed, their best as ``_best``, and the bootstrap standard error of the
    median as ``_stderr``; all in nats per datum. ``seconds`` of training per restart.

    >>> from pyro_helm.runtime.tables import tidy
    >>> labels = {"dataset": "d", "sizes": "6-4", "imaging": "odds", "scheme": "reinforce", "seed": 0, "seconds": 1.0}
    >>> rows = [labels | {"restart": r, "metric": m, "value": v}
    ...         for r in range(3) for m, v in (("log_likelihood", -4.0 - r), ("elbo", -5.0 - r), ("failed", 0.0))]
    >>> summary = summarise(tidy(rows))
    >>> summary.log_likelihood.item(), summary.log_likelihood_best.item()
    (-5.0, -4.0)
    """
    keys = ["dataset", "sizes", "imaging", "scheme"]
    final = _checked_final(table, keys)
    keys += [name for name in final if name in _settings()]
    rows = []
    for labels, group in final.groupby(keys, sort=False, observed=True, dropna=False):
        wide = group.pivot(index=["seed", "restart"], columns="metric", values="value")
        if "elbo" not in wide:  # of machines without a guide
            wide = wide.assign(elbo=np.nan)
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
            row |= {f"{metric}_stderr": stderr_of_median(values)}
        row["seconds"] = group.groupby("seed").seconds.max().sum() / len(wide)
        rows.append(row)
    summary = outermost(pd.DataFrame(rows), ["scheme", "imaging", "log_likelihood"], ["restarts", "failed", "seconds"])
    return (
        summary
        if summary.empty
        else summary.sort_values(["dataset", "log_likelihood"], ascending=[True, False], ignore_index=True)
    )


_FINAL = ["elbo", "failed", "log_likelihood"]


def _settings() -> set[str]:
    """Columns of a table that tell settings apart."""
    of_schemes = {name for scheme in SCHEMES.values() for name in signature(scheme).parameters}
    of_runs = {"budget", "data_seed", "on_distribution", "num_samples", "machine_model", "guide"}
    return {*settings_of_training(fit), *of_schemes, *of_runs}


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
    if "split" in final:
        final = final[final["split"] == "test"]
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
    told = [*labels, *(name for name in final if name in _settings())]
    twice = final[final.duplicated([*told, "metric"])]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"table has {row.metric} of restart {row.restart}, seed {row.seed} of {row.dataset} {row.sizes} "
            f"{row.imaging} {row.scheme} more than once; merge comparisons of other seeds, or drop duplicates"
        )
    return final
