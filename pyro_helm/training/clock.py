"""The clock of a training: seconds of its steps alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pyro_helm.runtime.device import wait_for

_BETWEEN_LOOKS = 0.1
_PAUSE = 0.5
_SHARE = 0.2


class Clock:
    """Seconds of training steps, without what is prepared for them, validation, saving and pauses.

    A stretch of half a second or more, in which the process has run for less than a fifth, is a pause: it was stopped
    (SIGSTOP, Ctrl-Z), or the computer slept. Of it the seconds of the processor count. Shorter pauses count whole, and
    so does the time that other processes take.

    Args:
        device: whose work is waited for.

    Attributes:
        seconds: so far.

    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0
        self._is_running = False
        self._wall = self._cpu = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what is done in the block."""
        self._start()
        try:
            yield
            wait_for(self.device)
        finally:
            self._stop()

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Don't count what is done in this block, inside one that counts."""
        was_running = self._is_running
        if was_running:
            wait_for(self.device)
            self._stop()
        try:
            yield
        finally:
            if was_running:
                self._start()

    def tick(self) -> None:
        """After every step, so that a pause is seen for what it is."""
        if time.perf_counter() - self._wall > _BETWEEN_LOOKS:
            self._stop()
            self._start()

    def _start(self) -> None:
        self._is_running, self._wall, self._cpu = True, time.perf_counter(), time.process_time()

    def _stop(self) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self.seconds += cpu if wall >= _PAUSE and cpu < _SHARE * wall else wall
        self._is_running = False
