"""When a run is saved, and what of it."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_helm.runtime.tables import write_table
from pyro_helm.training.checkpoint import FILE_NAME, save
from pyro_helm.training.resumption import State, restore, state_of
from pyro_helm.training.run_folder import RunFolder

if TYPE_CHECKING:
    from pyro_helm.training.run import TrainingRun

_SHARE = 0.02
"""Of the time, the most that saving may take."""


class Saving:
    """Saves of a run, now and then and at the end.

    Args:
        run: which goes on from its folder.
        folder: where to; None for nowhere.

    Attributes:
        failure: why the last save failed, in a sentence; None where none did.

    """

    def __init__(self, run: TrainingRun, folder: RunFolder | None) -> None:
        self.run = run
        self.folder = folder
        self._kept: State | None = None
        self._due = math.inf
        self._saved: tuple[int, int] | None = None
        self.failure: str | None = None

    @contextmanager
    def to_folder(self) -> Iterator[None]:
        """Keep others out of the folder; what it holds is what the run goes on from, or is refused."""
        if self.folder is None:
            yield
            return
        settings = self.run.settings
        with self.folder.locked():
            self._kept, changed = self.folder.begin(resume=settings.resume, overwrite=settings.overwrite)
            if changed:
                warnings.warn(
                    f"the run in {self.folder.path} goes on in other surroundings, which may change the last bits of "
                    f"its numbers ({'; '.join(changed)})",
                    RuntimeWarning,
                    stacklevel=5,
                )
            yield

    def begin(self) -> None:
        """Put the run where it was, or save it once, so that what can't be written is found before the training."""
        if self.folder is None:
            return
        if self._kept is None:
            try:
                self.folder.save(state_of(self.run), None)
            except OSError as error:
                raise _sentence(self.folder, error) from error
        else:
            restore(self.run, self._kept)
        self._saved = self._stands_at()
        self._due = time.monotonic() + self.run.settings.save_every

    def is_due(self) -> bool:
        """Whether it is time for the next."""
        return time.monotonic() > self._due

    def save(self, *, whole: bool) -> None:
        """Save what is new since the last time; where that fails, a warning tells, and the training goes on.

        Args:
            whole: whether the run stands between two steps, so that it can go on from here.

        """
        if self.folder is None or self._saved is None or self._saved == self._stands_at():
            return
        began = time.monotonic()
        write = self._write if self.run.history.records and self.run.epoch != self._saved[0] else None
        try:
            if whole:
                self.folder.save(state_of(self.run), write)
            elif write is not None:
                self.folder.write(write)
            self._saved, self.failure = self._stands_at(), None
        except OSError as error:
            self.failure = str(_sentence(self.folder, error))
            warnings.warn(
                f"{self.failure}; what was saved before is as it was, and the training goes on",
                RuntimeWarning,
                stacklevel=2,
            )
        took = time.monotonic() - began
        self._due = time.monotonic() + max(self.run.settings.save_every, took / _SHARE)

    def _stands_at(self) -> tuple[int, int]:
        under_way = self.run.under_way
        return self.run.epoch, 0 if under_way is None else under_way.position

    def _write(self, folder: Path) -> None:
        with self.run.restarts.best.in_place():
            save(folder / FILE_NAME, self.run.model, self.run.guide)
        write_table(self.run.history.table(), folder / "history")


def _sentence(folder: RunFolder, error: OSError) -> OSError:
    return OSError(f"the run can't be saved in {folder.path}: {error.strerror or error}")
