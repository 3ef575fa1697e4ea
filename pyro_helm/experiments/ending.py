"""Signals that end a study as Ctrl-C does."""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

from pyro_helm.runtime.signals import FROM_OUTSIDE, taken


class Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C's, by its number."""


def ending_signals() -> AbstractContextManager[Any]:
    """Raise :class:`Ended` inside the block for SIGTERM and SIGHUP; those that are ignored, as by nohup, stay so."""
    return taken(_end, FROM_OUTSIDE, lambda _, before: before is not signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)
