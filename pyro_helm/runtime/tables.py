"""Tidy tables: the one form in which every number leaves the program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pyro_helm.runtime.atomic_files import atomic_path

COLUMNS = [
    "dataset",
    "model",
    "imaging",
    "sizes",
    "scheme",
    "restart",
    "seed",
    "epoch",
    "seconds",
    "metric",
    "value",
    "stderr",
]
"""Columns of every table of results. Log-likelihoods and bounds are in nats per datum, ``seconds`` are of training."""


def tidy(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Frame of results with the columns :data:`COLUMNS`, in that order.

    >>> tidy([{"scheme": "reinforce", "metric": "elbo", "value": -3.2}]).value.item()
    -3.2
    """
    return pd.DataFrame(list(rows), columns=COLUMNS)


def write_table(table: pd.DataFrame, stem: str | Path) -> None:
    """Write ``stem.parquet`` and ``stem.csv``, each whole or not at all."""
    with atomic_path(f"{stem}.parquet") as path:
        table.to_parquet(path, index=False)
    with atomic_path(f"{stem}.csv") as path:
        table.to_csv(path, index=False)
