"""Callbacks are told of every epoch, and may end the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pyro_helm as helm


def data(number: int = 25, seed: int = 0) -> Tensor:
    return (torch.rand(number, 6, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def fit(**settings: Any) -> helm.Result:
    programs = helm.BeliefNetwork((6, 4), restarts=2, seed=0), helm.FactorialRecognition((6, 4), restarts=2, seed=0)
    chosen = {"num_epochs": 3, "batch_size": 5, "progress": False, "valid": data(10, 1), **settings}
    return helm.fit(*programs, data(), scheme=helm.VIMCO(3), **chosen)


def test_they_are_told_what_the_history_holds() -> None:
    told: list[helm.EpochState] = []
    result = fit(callbacks=[told.append])
    assert [state.epoch for state in told] == [1, 2, 3]
    values = [value for state in told for metric in state.metrics.values() for value in metric.tolist()]
    assert values == result.history.value.tolist()
    assert told[-1].best.tolist() == result.summary.best.tolist()
    assert told[-1].model is result.model


def test_true_ends_the_training_for_good(tmp_path: Path) -> None:
    class Ends:
        def on_epoch(self, state: helm.EpochState) -> bool:
            return state.epoch == 2

    for _ in range(2):
        result = fit(callbacks=[Ends()], out=tmp_path, resume=True)
        assert result.history.epoch.max() == 2
        assert not result.interrupted


def test_what_they_draw_changes_no_number() -> None:
    drawing = fit(callbacks=[lambda state: torch.rand(1)])
    assert drawing.history.value.tolist() == fit().history.value.tolist()


def test_json_lines_go_on_with_the_run(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log.jsonl"
    fit(callbacks=[helm.JsonLines(log)], out=tmp_path / "run", num_epochs=2)
    with log.open("a") as file:
        file.write('{"epoch": 3, "by": "one that was killed before its save"}\n{"epo')
    result = fit(callbacks=[helm.JsonLines(log)], out=tmp_path / "run", resume=True)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [value for line in lines for value in line["valid_elbo"]] == result.history[
        result.history.metric == "valid_elbo"
    ].value.tolist()
    fit(callbacks=[helm.JsonLines(log)], num_epochs=1)
    assert len(log.read_text().splitlines()) == 1


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_reads_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = fit(callbacks=[helm.TensorBoard(tmp_path)])
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for restart, rows in result.history[result.history.metric == "valid_elbo"].groupby("restart"):
        points = events.Scalars(f"valid_elbo/restart {restart}")
        assert [point.step for point in points] == rows.epoch.tolist()
        assert [point.value for point in points] == pytest.approx(rows.value.tolist(), rel=1e-6)


def test_what_is_no_callback_is_refused() -> None:
    for callbacks, sentence in [(3, "must be a list"), ([3], "must be a function"), ([helm.JsonLines], "got <class")]:
        with pytest.raises(TypeError, match=sentence):
            fit(callbacks=callbacks)
