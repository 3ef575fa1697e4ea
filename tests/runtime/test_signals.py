"""Signals that ask for the end are noted, and handed on to whom they were for."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from pyro_helm.runtime.signals import EndingSignals, end_blocks_of


def test_ctrl_c_is_noted_and_the_second_is_not_waited_for() -> None:
    before = signal.getsignal(signal.SIGINT)
    with EndingSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_others_are_handed_on_after_the_block(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    before = signal.signal(number, lambda *_: seen.append("the handler of before"))
    try:
        with EndingSignals() as signals:
            for _ in range(2):  # some senders ask twice
                os.kill(os.getpid(), number)
            seen.append(f"noted {signals.received}")
        assert seen == [f"noted {int(number)}", "the handler of before"]
    finally:
        signal.signal(number, before)


def test_ignored_signals_and_handlers_of_ctrl_c_stay() -> None:
    def own(*_: Any) -> None:
        pass

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGINT, own)
    try:
        with EndingSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGINT) is own
        assert signals.received is None
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_another_thread_has_no_handlers_to_set() -> None:
    found: list[Any] = []

    def work() -> None:
        with EndingSignals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


def test_the_blocks_of_one_thread_are_asked_to_end_from_another() -> None:
    inside, over, received = threading.Event(), threading.Event(), []

    def work() -> None:
        with EndingSignals() as signals:
            inside.set()
            over.wait(10)
            received.append(signals.received)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(10)
    assert thread.ident is not None
    with EndingSignals() as ours:
        assert end_blocks_of(thread.ident)
        assert ours.received is None
    over.set()
    thread.join(10)
    assert received == [signal.SIGINT]
    assert not end_blocks_of(thread.ident)
