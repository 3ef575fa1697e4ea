"""Tables in the terminal."""

from __future__ import annotations

import sys

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyro_helm.likelihoods import Scores


def print_summary(summary: pd.DataFrame, *, interrupted: bool = False) -> None:
    """Print a comparison's summary, one row per scheme and imaging model."""
    columns = {
        "dataset": "data",
        "sizes": "sizes",
        "imaging": "imaging",
        "machine_model": "model",
        "guide": "guide",
        "scheme": "scheme",
        "restarts": "restarts",
        "failed": "failed",
        "log_likelihood": "log p median",
        "log_likelihood_stderr": "± s.e.",
        "log_likelihood_best": "log p best",
        "elbo": "-F median",
        "elbo_stderr": "± s.e. ",
        "elbo_best": "-F best",
        "seconds": "s/restart",
    }
    shown = summary[[name for name in columns if name in summary]].rename(columns=columns)
    title = "log-likelihood log p and bound -F in nats per datum (higher is better), over restarts"
    print_table(shown, title + (" (interrupted)" if interrupted else ""))


def print_scores(scores: Scores, title: str) -> None:
    """Print one row per restart, and warnings to standard error. Files have the other columns too."""
    columns = ["restart", "log_likelihood", "stderr", "elbo", "ess", "khat", "jackknife"]
    print_table(scores.summary[[name for name in columns if name in scores.summary]], title)
    for restart, warning in zip(scores.summary.restart, scores.summary.warnings, strict=True):
        if warning:
            print(f"restart {restart}: {warning}", file=sys.stderr)


def print_table(frame: pd.DataFrame, title: str) -> None:
    """Print a frame under its title, numbers to three digits."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in frame.columns:
        numeric = frame[column].dtype.kind in "fiub"
        table.add_column(Text(str(column)), justify="right" if numeric else "left", no_wrap=True)
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(_shown(value)) for value in row))  # text, since names may hold what rich takes for markup
    # a row stays a line, also in a pipe or a narrow window
    console = Console()
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(Text(title))
    console.print(table)


def _shown(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
