"""The setting of each scheme that is best on validation data, and how schemes differ on test data at theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from pyro_helm.experiments.study_tables import GROUP, wide_table


class NoChoice(ValueError):
    """Settings to choose between, and no validation scores to choose by."""


def chosen_settings(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """One row per data set, machine, budget and scheme: its best setting on validation data, reported on test data.

    A setting is judged by the median over restarts and seeds. Where no run was scored on validation data, there must be
    one setting of each scheme.

    Args:
        table: final numbers of a study.
        names: settings that differ.

    Raises:
        NoChoice: if there is a choice to make, and nothing to make it by.

    """
    if table.empty:
        return pd.DataFrame(columns=[*GROUP, "scheme", *names])
    has_valid = bool((table.split == "valid").any())
    judged = _judged(table, names, "valid" if has_valid else "test")
    test = wide_table(table, "test", names)
    rows = []
    for _, of_scheme in judged.groupby([*GROUP, "scheme"], sort=False):
        best = of_scheme.iloc[int(of_scheme["median"].argmax())]
        if len(of_scheme) > 1 and not has_valid:
            raise NoChoice(
                f"settings can't be chosen without validation scores: {best.scheme} has {len(of_scheme)}, and no run "
                "was scored on validation data; score the split valid too"
            )
        told = best.drop(["median", "runs"]).to_dict() | {"settings_tried": len(of_scheme)}
        told["valid_log_likelihood"] = best["median"] if has_valid else math.nan
        rows.append(told | _reported(test[test.run.isin(best.runs)]) | {"runs": " ".join(best.runs)})
    found = pd.DataFrame(rows)
    place = found.groupby(GROUP, sort=False).ngroup()
    found = found.assign(place=place).sort_values(["place", "log_likelihood"], ascending=[True, False])
    return found.drop(columns="place").reset_index(drop=True)


def chosen_if_any(table: pd.DataFrame, names: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """:func:`chosen_settings`, or an empty frame and the reason."""
    try:
        return chosen_settings(table, names), ""
    except NoChoice as error:
        return chosen_settings(table.iloc[:0], names), str(error)


def missing_references(chosen: pd.DataFrame, reference: str) -> list[str]:
    """Where the reference has no result to compare with, one sentence for each place."""
    return [
        f"{reference}, the reference, has no result for {', '.join(map(str, filter(None, labels)))}, so that there are "
        "no differences from it"
        for labels, group in chosen.groupby(GROUP, sort=False)
        if reference and reference not in set(group.scheme)
    ]


def _judged(table: pd.DataFrame, names: Sequence[str], split: str) -> pd.DataFrame:
    """The median log-likelihood and the runs of every setting, a failed restart counting as the worst."""
    keys = [*GROUP, "scheme", *names]
    wide = wide_table(table, split, names)
    wide["judged"] = wide.log_likelihood.where(wide.failed == 0, -np.inf).fillna(-np.inf)
    settings = wide.groupby(keys, sort=False, dropna=False)
    return settings.agg(median=("judged", "median"), runs=("run", lambda runs: list(dict.fromkeys(runs)))).reset_index()


def _reported(test: pd.DataFrame) -> dict[str, Any]:
    """What is said of a setting: over the restarts that have not failed."""
    kept = test[test.failed == 0]
    by_run = test.groupby("run")[["steps", "seconds"]].first()
    return {
        "restarts": len(test),
        "failed": int((test.failed != 0).sum()),
        "log_likelihood": kept.log_likelihood.median(),
        "log_likelihood_stderr": stderr_of_median(kept.log_likelihood.to_numpy(float)),
        "log_likelihood_best": kept.log_likelihood.max(),
        "elbo": kept.elbo.median(),
        "steps": int(by_run.steps.median()),
        "ms_per_step": 1000 * by_run.seconds.sum() / max(by_run.steps.sum(), 1),
        "seconds": by_run.seconds.sum(),
    }


def stderr_of_median(values: np.ndarray) -> float:
    """Bootstrap standard error of the median; NaN for fewer than two values, or one that is NaN."""
    return float("nan") if len(values) < 2 or np.isnan(values).any() else _bootstrapped(tuple(values.tolist()))


@lru_cache(maxsize=1000)
def _bootstrapped(values: tuple[float, ...]) -> float:
    # kept: a report asks for the same one in several places
    from scipy.stats import bootstrap  # late: it would add half a second to the import of this library

    drawn = bootstrap((values,), np.median, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
    return float(drawn.standard_error)


def paired_by_restart(
    table: pd.DataFrame, chosen: pd.DataFrame, names: Sequence[str], reference: str = ""
) -> pd.DataFrame:
    """How each scheme's test log-likelihood differs from the reference's, restart by restart.

    Runs of one seed begin with the same initial values, so that what one restart has by luck another scheme's has too.
    The interval is Student's, of 95 %, for the mean of the differences; pairs with a failed restart are left out.

    Args:
        table: final numbers of a study.
        chosen: of :func:`chosen_settings`.
        names: settings that differ.
        reference: label of a scheme; empty for the best on validation data in each group.

    Returns:
        one row per data set, machine, budget and other scheme: ``scheme, against, difference, stderr, low, high,
        pairs``, positive where the scheme is ahead, nats per datum. Where the reference has no result there are no
        pairs, and the difference is NaN.

    """
    # what tells most stands at the ends, which pandas shows in a narrow terminal too
    columns = ["scheme", "against", "difference", *GROUP, "stderr", "low", "high", "pairs"]
    if chosen.empty:
        return pd.DataFrame(columns=columns)
    test = wide_table(table, "test", names)
    rows = []
    for labels, group in chosen.groupby(GROUP, sort=False):
        against = reference or _best(group)
        values = {
            scheme: test[test.run.isin(runs.split()) & (test.failed == 0)].set_index(["seed", "restart"]).log_likelihood
            for scheme, runs in zip(group.scheme, group.runs, strict=True)
        }
        for scheme in group.scheme[group.scheme != against]:
            differences = (values[scheme] - values.get(against, np.nan)).dropna().to_numpy(float)
            rows.append(
                dict(zip(GROUP, labels, strict=True)) | {"scheme": scheme, "against": against} | interval(differences)
            )
    return pd.DataFrame(rows, columns=columns)


def _best(group: pd.DataFrame) -> str:
    by = "valid_log_likelihood" if group.valid_log_likelihood.notna().any() else "log_likelihood"
    return str(group.scheme.iloc[int(group[by].fillna(-np.inf).argmax())])


def interval(differences: np.ndarray) -> dict[str, float]:
    """Mean, its standard error and Student's interval of 95 %.

    >>> interval(np.array([1.0, 2.0, 3.0]))["difference"]
    2.0
    """
    from scipy.stats import t as student_t  # late: it would add to the time of every import

    pairs = len(differences)
    mean = float(differences.mean()) if pairs else math.nan
    stderr = float(differences.std(ddof=1) / math.sqrt(pairs)) if pairs > 1 else math.nan
    half = float(student_t.ppf(0.975, pairs - 1)) * stderr if pairs > 1 else math.nan
    return {"difference": mean, "stderr": stderr, "low": mean - half, "high": mean + half, "pairs": pairs}
