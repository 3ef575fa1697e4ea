"""What a study says: which scheme is ahead where, by how much and how sure."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pyro_helm.experiments.choosing import NoChoice
from pyro_helm.runtime.shown import counted, listed

if TYPE_CHECKING:
    from pyro_helm.experiments.study import Study

PLACE = ["dataset", "machine", "budget"]


class Verdict(NamedTuple):
    """The answer for one data set, machine and budget.

    Attributes:
        place: these, in words.
        labels: these, as they stand in the study's tables.
        leader: label of the scheme that is best on validation data.
        sentence: how far it is ahead of the others on test data, and how sure.
        clear: whether every other scheme is behind by more than its interval.

    """

    place: str
    labels: tuple[Hashable, ...]
    leader: str
    sentence: str
    clear: bool


def verdicts(study: Study) -> list[Verdict]:
    """The answer for every data set, machine and budget that has a scored run."""
    try:
        chosen = study.chosen()
    except NoChoice:
        return []
    if chosen.empty:
        return []
    leading = leaders(chosen)
    differences = {label: study.differences(label) for label in leading.scheme.unique()}
    found = []
    for lead in leading.to_dict("records"):
        labels = tuple(lead[name] for name in PLACE)
        others = differences[lead["scheme"]]
        others = others[(others[PLACE] == list(labels)).all(axis=1) & (others.scheme != lead["scheme"])]
        sentence, clear = _sentence(lead, others)
        found.append(
            Verdict(", ".join(str(label) for label in labels if label), labels, lead["scheme"], sentence, clear)
        )
    return found


def leaders(chosen: pd.DataFrame) -> pd.DataFrame:
    """The row of each data set, machine and budget that is best on validation data, or without on test data."""
    judged = chosen.valid_log_likelihood.fillna(-np.inf)
    if not np.isfinite(judged).any():
        judged = chosen.log_likelihood.fillna(-np.inf)
    best = judged.groupby([chosen[name] for name in PLACE]).idxmax()
    return chosen.loc[best]


def headline(found: list[Verdict]) -> str:
    """How often which scheme leads, where there is more than one place to lead at."""
    if len(found) < 2:
        return ""
    counts = pd.Series([verdict.leader for verdict in found]).value_counts()
    parts = [f"{scheme} leads in {number}" for scheme, number in counts.items()]
    clear = sum(verdict.clear for verdict in found)
    return f"Of {len(found)} comparisons {', '.join(parts)}; every rival is clearly behind in {clear} of them."


def _sentence(lead: dict[Any, Any], others: pd.DataFrame) -> tuple[str, bool]:
    stderr = lead["log_likelihood_stderr"]
    error = f" ± {stderr:.3f}" if np.isfinite(stderr) else ""
    where = "validation data; on test data it" if np.isfinite(lead["valid_log_likelihood"]) else "test data: it"
    start = (f"{lead['scheme']} is best on {where} has {lead['log_likelihood']:.3f}{error} "
             f"nats per datum (median of {counted(lead['restarts'], 'restart')}).")  # fmt: skip
    if others.empty:
        return f"{start} No other scheme has been scored.", False
    # how far the leader is ahead, with the interval turned round too
    ahead = others.assign(lead=-others.difference, lead_low=-others.high, lead_high=-others.low).sort_values("lead")
    known = ahead[ahead.lead_low.notna() & ahead.lead_high.notna()]
    behind = known[known.lead_low > 0]
    better = known[known.lead_high < 0]
    even = known[(known.lead_low <= 0) & (known.lead_high >= 0)]
    unknown = ahead[~ahead.index.isin(known.index)]
    parts = [start]
    if len(behind):
        parts.append(f"It is ahead of {_each(behind, 'by ')}.")
    if len(even):
        parts.append(f"It can't be told apart from {_each(even)}; more restarts would tell.")
    if len(better):
        parts.append(f"On test data it is behind {_each(better, 'by ', sign=-1)}.")
    if len(unknown):
        parts.append(f"There are too few pairs of restarts to compare it with {listed(unknown.scheme.tolist())}.")
    return " ".join(parts), len(behind) == len(others)


def _each(rows: pd.DataFrame, before: str = "", sign: int = 1) -> str:
    """Every scheme with its difference and interval."""
    parts = []
    for row in rows.to_dict("records"):
        low, high = sorted((sign * row["lead_low"], sign * row["lead_high"]))
        distance = f"{sign * row['lead']:.3f} [{low:.3f}, {high:.3f}]"
        parts.append(f"{row['scheme']} {before}{distance}" if before else f"{row['scheme']} ({distance})")
    return ", ".join(parts)
