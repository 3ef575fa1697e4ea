"""Signals that ask a process to end, taken at a moment that suits it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

FROM_OUTSIDE = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a process, besides Ctrl-C's."""

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def taken(handler: Handler, numbers: tuple[int, ...], is_free: Callable[[int, Any], bool]) -> Iterator[dict[int, Any]]:
    """Handle signals inside the block, where they are free to be taken; gives what handled them before, and will again.

    Handlers are those of the process and belong to its main thread: in another, nothing is taken.

    Args:
        handler: of the signals.
        numbers: of the signals.
        is_free: whether one may be taken, from its number and its handler; one that is not Python's never is.

    """
    is_main = threading.current_thread() is threading.main_thread()
    found = {number: signal.getsignal(number) for number in numbers} if is_main else {}
    before = {number: other for number, other in found.items() if other is not None and is_free(number, other)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield before
    finally:
        for number, other in before.items():
            signal.signal(number, other)


_THREADS: dict[EndingSignals, int] = {}
"""The blocks that are under way in this process, each with its thread."""


def end_blocks_of(thread: int) -> bool:
    """Whether a thread is in any block of :class:`EndingSignals`; as if Ctrl-C had come, these end when they can."""
    blocks = [block for block, its in list(_THREADS.items()) if its == thread]
    for block in blocks:
        block.received = block.received or signal.SIGINT
    return bool(blocks)


class EndingSignals:
    """Note Ctrl-C, SIGTERM and SIGHUP inside a ``with`` block, for the block to end when it can.

    A second Ctrl-C raises KeyboardInterrupt at once. After the block, SIGTERM and SIGHUP are handed on to whatever
    handled them before; without a handler they end the process, as the sender meant. Outside the main thread the block
    notes nothing. Signals that are ignored, as nohup does, and handlers of Ctrl-C but Python's own stay as they are.

    Attributes:
        received: number of the first signal; None before.

    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._taken = taken(self._note, (signal.SIGINT, *FROM_OUTSIDE), _may_be_noted)

    def __enter__(self) -> EndingSignals:
        self._taken.__enter__()
        _THREADS[self] = threading.get_ident()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del _THREADS[self]
        self._taken.__exit__(None, None, None)
        if self.received is not None and self.received != signal.SIGINT:
            sys.stdout.flush()
            sys.stderr.flush()
            signal.raise_signal(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is None:
            self.received = number


def _may_be_noted(number: int, before: Any) -> bool:
    return before is signal.default_int_handler if number == signal.SIGINT else before is not signal.SIG_IGN
