"""What a training shows of itself: a bar in a terminal or a notebook, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

_BETWEEN_LINES = 30.0


class Bar:
    """The scheme, the epoch and the bound of the best restart, on standard error.

    Args:
        labels: of the history.
        num_epochs: of the training.
        shown: whether anything is shown.

    """

    def __init__(self, labels: Mapping[str, Any], num_epochs: int, *, shown: bool) -> None:
        self.description = " ".join(part for part in (labels["dataset"], labels["imaging"], labels["scheme"]) if part)
        self.num_epochs = num_epochs
        console = Console(stderr=True)
        self._display: _Bar | _NotebookBar | _Lines | None = None
        if shown:
            kind = _NotebookBar if console.is_jupyter else _Bar if console.is_terminal else _Lines
            self._display = kind(console, self.description, num_epochs)
        self._epoch = 0

    def __enter__(self) -> Bar:
        if self._display is not None:
            self._display.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._display is not None:
            self._display.stop()

    def advance(self, score: Tensor, *, by: int = 1) -> None:
        """So many epochs more; show the best of these bounds, ``[restarts]``."""
        self._epoch += by
        if self._display is not None and by:
            finite = score[score.isfinite()]
            self._display.show(self._epoch, f"{float(finite.max()):.3f}" if len(finite) else "none")


class _Bar:
    """In a terminal."""

    def __init__(self, console: Console, description: str, num_epochs: int) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),  # a data set's name may hold [brackets]
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs, bound {task.fields[bound]} nats"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.progress.add_task(description, total=num_epochs, bound="")

    def start(self) -> None:
        self.progress.start()

    def show(self, epoch: int, bound: str) -> None:
        self.progress.update(self.task, completed=epoch, bound=bound)

    def stop(self) -> None:
        self.progress.stop()


class _NotebookBar:
    """In a notebook, a bar of its own kind."""

    def __init__(self, console: Console, description: str, num_epochs: int) -> None:
        self.description, self.num_epochs = description, num_epochs
        self.bar: Any = None

    def start(self) -> None:
        from tqdm.auto import tqdm  # late: it looks for a notebook's widgets

        self.bar = tqdm(total=self.num_epochs, desc=self.description, unit="epoch")

    def show(self, epoch: int, bound: str) -> None:
        if self.bar is not None:
            self.bar.set_postfix_str(f"bound {bound} nats", refresh=False)
            self.bar.update(epoch - self.bar.n)

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.close()


class _Lines:
    """In a file or a pipe: a line every half minute, and for the last epoch."""

    def __init__(self, console: Console, description: str, num_epochs: int) -> None:
        self.console, self.description, self.num_epochs = console, description, num_epochs
        self.line, self.printed = "", ""
        self.due = 0.0

    def start(self) -> None:
        self.due = time.monotonic() + _BETWEEN_LINES

    def show(self, epoch: int, bound: str) -> None:
        self.line = f"{self.description}: epoch {epoch} of {self.num_epochs}, bound {bound} nats"
        if time.monotonic() > self.due:
            self._print()

    def stop(self) -> None:
        self._print()

    def _print(self) -> None:
        if self.line != self.printed:
            self.console.print(self.line, markup=False, highlight=False, soft_wrap=True)
        self.printed, self.due = self.line, time.monotonic() + _BETWEEN_LINES
