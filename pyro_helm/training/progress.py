"""The progress bar of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor


class Bar:
    """Progress bar with the scheme, the epoch and the bound of the best restart."""

    def __init__(self, labels: Mapping[str, Any], num_epochs: int, *, shown: bool) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),  # a data set's name may hold [brackets]
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs, bound {task.fields[bound]} nats"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        description = " ".join(part for part in (labels["dataset"], labels["imaging"], labels["scheme"]) if part)
        self.task = self.progress.add_task(description, total=num_epochs, bound="")

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def advance(self, score: Tensor, *, by: int = 1) -> None:
        """So many epochs more; show the best of these bounds, ``[restarts]``."""
        finite = score[score.isfinite()]
        bound = f"{float(finite.max()):.3f}" if len(finite) else "none"
        self.progress.update(self.task, advance=by, bound=bound)
