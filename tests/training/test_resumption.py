"""A run that was ended and resumed is the run that never was: the same bits."""

from __future__ import annotations

import errno
import json
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.training.clock import Clock
from pyro_helm.training.run_folder import RunFolder

SCHEMES: dict[str, tuple[Any, dict[str, Any]]] = {
    "wake-sleep": (helm.WakeSleep, {"schedule": "cosine"}),
    "NVIL": (helm.NVIL, {"average": 0.9}),
    "Gibbs": (helm.Gibbs, {"max_gradient_norm": 1.0}),
    "patience": (helm.ReweightedWakeSleep, {"patience": 1, "learning_rate": 0.3, "num_epochs": 9}),
    "captured": (helm.VIMCO, {"step": "captured", "schedule": "warm_up_cosine"}),
}


def data(number: int = 25, seed: int = 0) -> Tensor:
    return (torch.rand(number, 6, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def machine(restarts: int = 4, seed: int = 0) -> tuple[Any, Any]:
    return (
        helm.BeliefNetwork((6, 4), restarts=restarts, seed=seed),
        helm.FactorialRecognition((6, 4), restarts=restarts, seed=seed),
    )


def fit(programs: tuple[Any, Any], scheme: Any = None, **settings: Any) -> helm.Result:
    chosen = {"batch_size": 5, "num_epochs": 5, "progress": False, **settings}
    return helm.fit(*programs, data(), scheme=scheme or helm.VIMCO(3), **chosen)


def ends_after(steps: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT) -> None:
    """Ctrl-C, or another signal, after so many steps from now."""
    taken = 0

    def tick(clock: Clock) -> None:
        nonlocal taken
        taken += 1
        if taken == steps:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Clock, "tick", tick)


def numbers(result: helm.Result) -> list[Any]:
    """All that a run ends with, but for its seconds."""
    table = result.history.drop(columns="seconds").to_csv(index=False, float_format="%.17g")
    tensors = [value.tolist() for part in (result.model, result.guide) if part for value in part.state_dict().values()]
    return [table, result.summary.to_csv(float_format="%.17g"), tensors]


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("steps", [1, 13])
def test_ended_and_resumed_gives_the_same_bits(
    name: str, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, settings = SCHEMES[name]
    settings = {"valid": data(20, 1), **settings}
    make = kind if kind is helm.WakeSleep else lambda: kind(2)
    expected = fit(machine(), make(), **settings)
    ends_after(steps, monkeypatch)
    assert fit(machine(), make(), out=tmp_path, **settings).interrupted
    resumed = fit(machine(seed=1), make(), out=tmp_path, resume=True, **settings)
    assert not resumed.interrupted
    assert numbers(resumed) == numbers(expected)
    loaded, _ = helm.load(tmp_path)
    for ours, theirs in zip(loaded.state_dict().values(), expected.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    tables = [pd.read_parquet(tmp_path / "history.parquet"), pd.read_csv(tmp_path / "history.csv")]
    assert [len(table) for table in tables] == [len(expected.history)] * 2


class Own(nn.Module):
    """A program with a running mean, which several steps move."""

    def __init__(self, *, is_model: bool) -> None:
        super().__init__()
        self.is_model = is_model
        self.logits = nn.Parameter(torch.zeros(4))
        self.readout = nn.Parameter(torch.full((4, 6), 0.1))
        self.register_buffer("mean", torch.zeros(6))
        self.mean: Tensor

    def forward(self, observations: dict[str, Tensor]) -> None:
        x = observations["x"]
        if self.training:
            self.mean.lerp_(x.detach().mean(0), 0.1)
        with pyro.plate("data", len(x), dim=-1):
            centred = (x - self.mean) @ self.readout.T
            logits = self.logits.expand(len(x), 4) if self.is_model else self.logits + centred
            h = pyro.sample("h", dist.Bernoulli(logits=logits).to_event(1))
            if self.is_model:
                pyro.sample("x", dist.Bernoulli(logits=h @ self.readout + self.mean).to_event(1), obs=x)


def test_programs_of_ones_own_go_on_with_their_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, settings = [(Own(is_model=True), Own(is_model=False)) for _ in range(3)], {"valid": data(20, 1)}
    expected = fit(programs[0], **settings)
    ends_after(13, monkeypatch)
    fit(programs[1], out=tmp_path, **settings)
    resumed = fit(programs[2], out=tmp_path, resume=True, **settings)
    assert numbers(resumed) == numbers(expected)
    assert resumed.model is programs[2][0]


def test_a_finished_run_gives_its_result_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit(machine(), out=tmp_path, resume=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(Clock, "tick", None)  # no step can be taken
    again = fit(machine(seed=1), out=tmp_path, resume=True)
    assert numbers(again) == numbers(first)
    assert again.history.equals(first.history)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_more_epochs_go_on_from_a_finished_run(tmp_path: Path) -> None:
    fit(machine(), out=tmp_path, num_epochs=3)
    resumed = fit(machine(), out=tmp_path, num_epochs=5, resume=True)
    assert numbers(resumed) == numbers(fit(machine(), num_epochs=5))
    with pytest.raises(ValueError, match=r"settings.num_epochs: 5 there, 3 here"):
        fit(machine(), out=tmp_path, num_epochs=3, resume=True)


def test_more_epochs_keep_a_schedule_of_ones_own(tmp_path: Path) -> None:
    own = helm.SCHEDULES["cosine"](5)
    for epochs in (3, 5):
        resumed = fit(machine(), out=tmp_path, num_epochs=epochs, schedule=own, resume=True)
    assert numbers(resumed) == numbers(fit(machine(), num_epochs=5, schedule="cosine"))


def test_what_differs_is_named(tmp_path: Path) -> None:
    fit(machine(), out=tmp_path, num_epochs=1, schedule="cosine")
    same: dict[str, Any] = {"out": tmp_path, "num_epochs": 1, "schedule": "cosine", "resume": True}
    changes: list[tuple[dict[str, Any], str]] = [
        ({"num_epochs": 2}, "settings.num_epochs: 1 there, 2 here"),
        ({"learning_rate": 0.1}, "settings.learning_rate: None there, 0.1 here"),
        ({"seed": 1}, "settings.seed: 0 there, 1 here"),
        ({"scheme": helm.VIMCO(4)}, "scheme.settings.num_particles: 3 there, 4 here"),
        ({"scheme": helm.NVIL()}, "scheme.name: vimco there, nvil here"),
        ({"valid": data(20, 1)}, "valid"),
        ({"dtype": torch.float64}, "place.dtype: torch.float32 there, torch.float64 here"),
    ]
    for change, sentence in changes:
        with pytest.raises(ValueError, match=f"can't be resumed, because it was made otherwise .*{sentence}"):
            fit(machine(), **(same | change))
    with pytest.raises(ValueError, match=r"model.config.restarts: 4 there, 2 here"):
        fit(machine(2), **same)
    with pytest.raises(ValueError, match=r"data.values.digest"):
        helm.fit(*machine(), 1 - data(), scheme=helm.VIMCO(3), batch_size=5, progress=False, **same)
    fit(machine(), **(same | {"resume": False, "overwrite": True, "seed": 1}))
    assert json.loads((tmp_path / "config.json").read_text())["settings"]["seed"] == 1


def test_a_folder_is_one_runs_at_a_time(tmp_path: Path) -> None:
    settings = helm.Settings(out=tmp_path, progress=False, batch_size=5, num_epochs=5)
    run = helm.TrainingRun(*machine(), data(), scheme=helm.VIMCO(3), settings=settings)
    with run, pytest.raises(ValueError, match="another run is being written"):
        fit(machine(), out=tmp_path, resume=True)
    fit(machine(), out=tmp_path, resume=True)


def test_within_an_epoch_too_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_helm.training.saving._SHARE", 1e9)
    positions = []

    def tick(clock: Clock) -> None:
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        positions.append(None if state["pass"] is None else state["pass"]["position"])

    monkeypatch.setattr(Clock, "tick", tick)
    fit(machine(), out=tmp_path, num_epochs=1, save_every=0.0)
    assert positions == [None, 5, 10, 15, 20]


def test_a_broken_state_is_told(tmp_path: Path) -> None:
    fit(machine(), out=tmp_path, num_epochs=1)
    (tmp_path / "state.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"state of the run in .*state.pt can't be read"):
        fit(machine(), out=tmp_path, num_epochs=2, resume=True)


def test_settings_of_saving_are_checked(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"resume": True}, "needs the folder of the run"),
        ({"resume": True, "overwrite": True, "out": tmp_path}, "ask for one of the two"),
        ({"save_every": -1.0}, "save_every must be finite and not below 0"),
    ]
    for settings, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            fit(machine(), **settings)


def test_sigterm_is_saved_and_then_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit(machine())
    ends_after(13, monkeypatch, signal.SIGTERM)
    positions: list[int] = []

    def note(*_: Any) -> None:
        positions.append(torch.load(tmp_path / "state.pt", weights_only=True)["pass"]["position"])

    before = signal.signal(signal.SIGTERM, note)
    try:
        ended = fit(machine(), out=tmp_path)
        assert signal.getsignal(signal.SIGTERM) is note
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.interrupted
    assert positions == [15]
    assert numbers(fit(machine(), out=tmp_path, resume=True)) == numbers(expected)


def full_disk(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_before_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    monkeypatch.setattr(Clock, "tick", None)  # no step can be taken
    with pytest.raises(OSError, match=r"the run can't be saved in .*: No space left on device"):
        fit(machine(), out=tmp_path)


def test_a_disk_that_fills_costs_no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit(machine())
    fit(machine(), out=tmp_path, num_epochs=2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full_disk)
        with pytest.warns(RuntimeWarning, match="No space left on device; what was saved before is as it was"):
            result = fit(machine(), out=tmp_path, resume=True)
    assert "No space left on device" in str(result.unsaved)
    assert numbers(result) == numbers(expected)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert fit(machine(), out=tmp_path, resume=True).unsaved is None


def test_saving_takes_a_fiftieth_of_the_time_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, saves = 0.0, []
    monkeypatch.setattr("time.monotonic", lambda: now)
    original = RunFolder.save

    def save(*arguments: Any) -> None:
        nonlocal now
        now += 1.0
        saves.append(now)
        original(*arguments)

    def tick(clock: Clock) -> None:
        nonlocal now
        now += 10.0

    monkeypatch.setattr(RunFolder, "save", save)
    monkeypatch.setattr(Clock, "tick", tick)
    fit(machine(), out=tmp_path, save_every=0.0)
    gaps = [later - sooner for sooner, later in pairwise(saves[1:])]
    assert len(gaps) > 3
    assert all(gap > 50.0 for gap in gaps[:-1])  # but for the last, at the end
