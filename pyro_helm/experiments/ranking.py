"""A comparison in a few lines: which scheme is ahead, by what log-likelihood, and what failed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from pyro_helm.runtime.shown import Card, as_given, counted, shortened

LABELS = ["dataset", "sizes", "imaging", "machine_model", "guide", "scheme"]
NUMBERS = {
    "log_likelihood": "log_p",
    "log_likelihood_stderr": "stderr",
    "log_likelihood_best": "best",
    "elbo": "elbo",
    "seconds": "s/restart",
    "failed": "failed",
}


def ranking_card(summary: pd.DataFrame, *, interrupted: bool) -> Card:
    """The card of a comparison's summary; labels that are the same in all rows stand above the table."""
    if summary.empty:
        return Card(
            "Comparison: interrupted before the first machine was scored" if interrupted else "Comparison: empty"
        )
    labels = [name for name in LABELS if name in summary]
    same = [name for name in labels if len(set(summary[name])) == 1 and name != "scheme"]
    common = ", ".join(shortened(str(summary[name].iloc[0])) for name in same)
    differing = [name for name in labels if name not in same]
    measured = [name for name in NUMBERS if name in summary and (name != "elbo" or summary.elbo.notna().any())]
    table = summary[differing + measured].rename(columns=NUMBERS)
    restarts = sorted(set(summary.restarts))
    number = counted(restarts[0], "restart") if len(restarts) == 1 else f"{restarts[0]} to {restarts[-1]} restarts"
    facts = [f"medians over {number}, best first; `stderr` is that of the median log p"]
    notes = ["the comparison was interrupted, so that machines are missing or too short"] * interrupted
    notes += [
        f"{row['failed']} of {row['restarts']} restarts failed: {row['imaging']}, {row['scheme']}, {row['dataset']}"
        for row in summary.to_dict("records")
        if row["failed"]
    ]
    title = f"Comparison{f' on {common}' if common else ''}, in nats per datum (higher is better)"
    return Card(title, facts, table, notes)


def states_of(runs: pd.DataFrame, not_begun: int) -> str:
    """How many runs are in which state, those that have not begun among them."""
    states = [f"{number} {state}" for state, number in runs.state.value_counts().items()]
    return (
        f"{counted(len(runs) + not_begun, 'run')}: {', '.join(states + [f'{not_begun} not begun'] * (not_begun > 0))}"
    )


def study_card(
    name: str,
    runs: pd.DataFrame,
    chosen: pd.DataFrame,
    varied: list[str],
    *,
    not_begun: int = 0,
    notes: Sequence[str] = (),
) -> Card:
    """The card of a study: how many runs are in which state, and each scheme at its chosen setting."""
    title = f"Study{f' {shortened(name, 60)}' if name else ''}"
    if runs.empty:
        return Card(f"{title}: no run has begun")
    facts = [states_of(runs, not_begun)]
    failed = [f"run {run.run} failed: {run.why}" for run in runs[runs.state == "failed"].itertuples()]
    more = [f"{len(failed) - 3} more runs failed; see runs()"] * (len(failed) > 3)
    notes = [*failed[:3], *more, *notes]
    if chosen.empty:
        return Card(title, facts, None, notes)
    facts.append("medians over restarts on test data in nats per datum, at the settings chosen on validation data")
    labels = ["dataset", "machine", "budget"]
    differing = [label for label in labels if len(set(chosen[label])) > 1]
    numbers = {column: short for column, short in NUMBERS.items() if column not in ("elbo", "seconds")}
    settings = {name: chosen[name].map(as_given) for name in varied}
    table = chosen[[*differing, "scheme", *numbers]].rename(columns=numbers).assign(**settings)
    return Card(title, facts, table, notes)
