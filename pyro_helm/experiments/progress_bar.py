"""The progress of a study: one bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 30.0


class StudyBar:
    """How many of the runs are over, and what is being trained.

    Args:
        total: runs to do.
        shown: whether to show anything, on standard error.

    """

    def __init__(self, total: int, *, shown: bool) -> None:
        console = Console(stderr=True)
        self.total, self.done, self.shown = total, 0, shown
        self.in_lines = shown and not (console.is_terminal or console.is_jupyter)
        self.told = time.monotonic()
        self.doing: Sequence[str] = []
        self.progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs"),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            disable=not shown or self.in_lines,
        )
        self.task = self.progress.add_task("", total=total)

    def __enter__(self) -> StudyBar:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def show(self, doing: Sequence[str]) -> None:
        """What each worker does."""
        self.doing = doing
        self.progress.update(self.task, description="; ".join(doing))
        if time.monotonic() - self.told > SECONDS_BETWEEN_LINES:
            self._tell()

    def advance(self) -> None:
        """One run is over."""
        self.done += 1
        self.progress.update(self.task, advance=1)

    def _tell(self) -> None:
        self.told = time.monotonic()
        if self.in_lines:
            print(
                f"{self.done} of {self.total} runs; now {'; '.join(self.doing) or 'none'}", file=sys.stderr, flush=True
            )
