"""A training driven by hand is the one that fit runs."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor

import pyro_helm as helm

SETTINGS = helm.Settings(num_epochs=3, batch_size=10, progress=False)


def data(number: int = 25) -> Tensor:
    return (torch.rand(number, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def machine() -> tuple[Any, Any]:
    return helm.BeliefNetwork((6, 4), restarts=2, seed=0), helm.FactorialRecognition((6, 4), restarts=2, seed=0)


def run_of(programs: tuple[Any, Any], settings: helm.Settings = SETTINGS, **more: Any) -> helm.TrainingRun:
    return helm.TrainingRun(*programs, data(), scheme=helm.VIMCO(3), settings=settings, **more)


def test_a_run_by_hand_gives_the_numbers_of_fit() -> None:
    ours, theirs = machine(), machine()
    with run_of(ours, valid=data(10)) as run:
        for epoch in run.epochs():
            run.train()
            run.validate()
            run.record(epoch)
    settings: dict[str, Any] = {"num_epochs": 3, "batch_size": 10, "progress": False}
    expected = helm.fit(*theirs, data(), scheme=helm.VIMCO(3), valid=data(10), **settings)
    assert run.result().history.value.tolist() == expected.history.value.tolist()
    assert torch.equal(ours[0].generative[0].weight, theirs[0].generative[0].weight)


def test_the_settings_are_those_of_fit_with_its_defaults() -> None:
    given = {name: argument.default for name, argument in signature(helm.fit).parameters.items()}
    for name in ("model", "guide", "data", "scheme", "valid"):
        given.pop(name)
    assert {field.name: field.default for field in fields(helm.Settings)} == given


def test_training_gives_the_bound_that_is_recorded() -> None:
    with run_of(machine()) as run:
        bounds = []
        for epoch in run.epochs():
            bounds += run.train().tolist()
            run.record(epoch)
    assert run.result().history.value.tolist() == bounds


def test_leaving_early_keeps_what_there_is() -> None:
    with run_of(machine()) as run:
        for epoch in run.epochs():
            run.train()
            run.record(epoch)
            break
    result = run.result()
    assert result.summary.best_epoch.tolist() == [1, 1]
    assert not result.interrupted


def test_ctrl_c_ends_the_block_alone() -> None:
    with run_of(machine()) as run:
        for _ in run.epochs():
            raise KeyboardInterrupt
    assert run.result().interrupted
    with pytest.raises(ZeroDivisionError), run_of(machine()):
        1 / 0  # noqa: B018


def test_the_callers_random_state_and_modes_are_left_alone() -> None:
    programs = machine()
    programs[0].eval()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with run_of(programs) as run:
        assert programs[0].training
        for _ in run.epochs():
            run.train()
    assert torch.equal(torch.rand(1), expected)
    assert not programs[0].training


def test_what_is_out_of_order_is_refused() -> None:
    run = run_of(machine())
    with pytest.raises(RuntimeError, match="goes on inside a with block"):
        next(run.epochs())
    with run, pytest.raises(RuntimeError, match="recorded after train"):
        run.record(1)
    with pytest.raises(RuntimeError, match="inside one with block, once"), run:
        pass


def test_what_is_changed_by_hand_between_epochs_is_followed_by_captured_steps() -> None:
    """A scheme's number, and the optimiser's learning rate."""
    found = []
    for kind in ("eager", "captured"):
        scheme = helm.ReweightedWakeSleep(3)
        settings = helm.Settings(num_epochs=4, batch_size=None, progress=False, step=kind)
        with helm.TrainingRun(*machine(), data(), scheme=scheme, settings=settings) as run:
            for epoch in run.epochs():
                scheme.insomnia = 0.5 if epoch > 2 else 1.0
                run.descent.param_groups[0]["lr"] = 0.1 / epoch
                run.train()
                run.record(epoch)
        found.append(run.result().history.value.tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("way", ["fit", "run"])
def test_the_warning_of_failed_restarts_names_the_callers_line(way: str) -> None:
    model, guide = machine()
    with torch.no_grad():
        model.generative[0].weight_unconstrained[1] = torch.nan

    def by_hand() -> None:
        with run_of((model, guide)) as run:
            next(run.epochs())
            run.train()
        run.result()

    def by_fit() -> None:
        helm.fit(model, guide, data(), scheme=helm.VIMCO(3), num_epochs=1, batch_size=10, progress=False)

    with pytest.warns(RuntimeWarning, match=r"restarts \[1\] of 2 failed") as warned:
        by_hand() if way == "run" else by_fit()
    assert warned[0].filename == __file__
