"""Signals that ask a process to end, taken at a moment that suits it."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class EndingSignals:
    """Note Ctrl-C, SIGTERM and SIGHUP inside a ``with`` block, for the block to end when it can.

    A second Ctrl-C raises KeyboardInterrupt at once. After the block, SIGTERM and SIGHUP are handed on to whatever
    handled them before; without a handler they end the process, as the sender meant. Handlers are those of the process
    and belong to its main thread: in another the block notes nothing. Signals that are ignored, as nohup does, and a
    handler of Ctrl-C that is not Python's own, stay as they are.

    Attributes:
        received: number of the first signal; None before.

    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> EndingSignals:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in _ENDING:
            before = signal.getsignal(number)
            is_free = before is signal.default_int_handler if number == signal.SIGINT else before is not signal.SIG_IGN
            if is_free and before is not None:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self.received is not None and self.received != signal.SIGINT:
            sys.stdout.flush()
            sys.stderr.flush()
            signal.raise_signal(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is None:
            self.received = number
