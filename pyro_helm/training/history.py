"""The table of a training: every metric of every active restart in every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from torch import Tensor

from pyro_helm.runtime.tables import tidy
from pyro_helm.training.validation import Metrics

_RECORDED = ("epoch", "seconds", "restart", "metric", "value", "stderr")


class History:
    """What a training has measured so far.

    Args:
        labels: columns that are the same in all of it.

    """

    def __init__(self, labels: Mapping[str, Any]) -> None:
        self.labels = labels
        self.records: list[dict[str, Any]] = []

    def record(self, metrics: Metrics, active: Tensor, *, epoch: int, seconds: float) -> None:
        """Add the metrics of the restarts that were active in this epoch, ``[restarts]``."""
        labels = {**self.labels, "epoch": epoch, "seconds": seconds}
        for metric, (values, stderrs) in metrics.items():
            errors = [None] * len(values) if stderrs is None else stderrs.tolist()
            self.records += [
                {**labels, "restart": restart, "metric": metric, "value": value, "stderr": errors[restart]}
                for restart, value in enumerate(values.tolist())
                if active[restart]
            ]

    def columns(self) -> dict[str, list[Any]]:
        """What is recorded, without the labels."""
        return {name: [record[name] for record in self.records] for name in _RECORDED}

    def restore(self, columns: Mapping[str, list[Any]]) -> None:
        """Take up what :meth:`columns` gave."""
        rows = zip(*(columns[name] for name in _RECORDED), strict=True)
        self.records = [{**self.labels, **dict(zip(_RECORDED, row, strict=True))} for row in rows]

    def table(self) -> pd.DataFrame:
        """A tidy frame with the columns of :data:`pyro_helm.runtime.tables.COLUMNS`."""
        return tidy(self.records)


def describe_machine(model: Any) -> dict[str, str]:
    """What the columns ``model, imaging, sizes`` say of a model; empty where it has no such thing.

    >>> describe_machine(BeliefNetwork((6, 4), imaging="odds"))
    {'model': 'BeliefNetwork', 'imaging': 'odds', 'sizes': '6-4'}
    """
    imaging = dict.fromkeys(getattr(model, "imaging", ()))
    layers = list(imaging) if len(imaging) < 2 else getattr(model, "imaging", ())
    return {
        "model": type(model).__name__,
        "imaging": "/".join(layers),
        "sizes": "-".join(str(size) for size in getattr(model, "sizes", ())),
    }
