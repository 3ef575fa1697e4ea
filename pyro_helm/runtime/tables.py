"""Tidy tables: the one form in which every number leaves the program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pyro_helm.runtime.atomic_files import atomic_path

COLUMNS = [
    "metric",
    "value",
    "stderr",
    "dataset",
    "model",
    "imaging",
    "sizes",
    "scheme",
    "seconds",
    "seed",
    "restart",
    "epoch",
]
"""Columns of every table of results. Log-likelihoods and bounds are in nats per datum, ``seconds`` are of training.

Where a table is wider than the terminal, pandas leaves out columns from the middle: what was measured and when stands
at the two ends.
"""


def tidy(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Frame of results with the columns :data:`COLUMNS`, in that order.

    >>> tidy([{"scheme": "reinforce", "metric": "elbo", "value": -3.2}]).value.item()
    -3.2
    """
    return pd.DataFrame(list(rows), columns=COLUMNS)


def outermost(table: pd.DataFrame, first: list[str], last: list[str]) -> pd.DataFrame:
    """The table with the columns that tell most at its ends, where pandas shows them in a narrow terminal too.

    >>> list(outermost(pd.DataFrame(columns=["stderr", "words", "value"]), ["value", "absent"], ["stderr"]))
    ['value', 'words', 'stderr']
    """
    middle = [name for name in table if name not in (*first, *last)]
    return table[[name for name in (*first, *middle, *last) if name in table]]


def write_table(table: pd.DataFrame, stem: str | Path) -> None:
    """Write ``stem.parquet`` and ``stem.csv``, each whole or not at all."""
    with atomic_path(f"{stem}.parquet") as path:
        table.to_parquet(path, index=False)
    with atomic_path(f"{stem}.csv") as path:
        table.to_csv(path, index=False)
