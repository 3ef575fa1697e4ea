"""Signals that end a study as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C's, by its number."""


@contextmanager
def ending_signals() -> Iterator[None]:
    """Raise :class:`Ended` inside the block for SIGTERM and SIGHUP; those that are ignored, as by nohup, stay so."""
    if threading.current_thread() is not threading.main_thread():  # signals belong to the main one
        yield
        return
    taken = {number: signal.getsignal(number) for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN}
    for number in taken:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number, before in taken.items():
            signal.signal(number, before)


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)
