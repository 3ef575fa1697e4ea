"""The clock counts steps, and neither pauses nor what is prepared for them."""

from __future__ import annotations

import pytest
import torch

from pyro_helm.training.clock import Clock


class Times:
    """A wall clock and a processor's clock that are set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = self.cpu = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: self.wall)
        monkeypatch.setattr("time.process_time", lambda: self.cpu)

    def passes(self, wall: float, cpu: float) -> None:
        self.wall += wall
        self.cpu += cpu


def test_steps_count_and_what_is_between_blocks_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    times, clock = Times(monkeypatch), Clock(torch.device("cpu"))
    for _ in range(2):
        with clock.running():
            times.passes(3.0, 3.0)
        times.passes(5.0, 5.0)
    assert clock.seconds == 6.0


def test_what_is_prepared_within_a_step_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    times, clock = Times(monkeypatch), Clock(torch.device("cpu"))
    with clock.running():
        times.passes(1.0, 1.0)
        with clock.standing():
            times.passes(9.0, 9.0)
        times.passes(1.0, 1.0)
    with clock.standing():
        times.passes(9.0, 9.0)
    assert clock.seconds == 2.0


def test_a_stopped_process_does_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    times, clock = Times(monkeypatch), Clock(torch.device("cpu"))
    with clock.running():
        for stopped in (0.0, 60.0, 0.0):
            for _ in range(10):
                times.passes(0.05, 0.05)
                clock.tick()
            times.passes(stopped, 0.0)
    assert clock.seconds == pytest.approx(1.5)


def test_a_shared_processor_is_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    times, clock = Times(monkeypatch), Clock(torch.device("cpu"))
    with clock.running():
        times.passes(4.0, 1.0)
    assert clock.seconds == 4.0
