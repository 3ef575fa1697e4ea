"""Averages of the parameters are those of their equation, for each restart, and are what is validated and kept."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.training.restarts import Restarts
from pyro_helm.training.weight_average import WeightAverage

FINE = torch.ones(2, dtype=torch.bool)


def average_over(values: Tensor, decay: float) -> Tensor:
    """By its definition, in double precision: of ``[steps, ...]``, weights that fall back in time."""
    weights = decay ** torch.arange(len(values) - 1, -1, -1, dtype=torch.float64)
    return torch.einsum("s,s...->...", weights / weights.sum(), values.double())


def averaged(parameter: nn.Parameter, decay: float = 0.9) -> tuple[Restarts, WeightAverage]:
    restarts = Restarts([parameter], len(parameter))
    return restarts, WeightAverage(restarts, decay)


@pytest.mark.parametrize("num_steps", [1, 2, 50])
def test_it_is_the_weighted_mean_over_the_steps_without_the_initial_values(num_steps: int) -> None:
    parameter = nn.Parameter(torch.full((2, 3), 100.0))
    _, average = averaged(parameter)
    values = torch.randn(num_steps, 2, 3, generator=torch.Generator().manual_seed(0))
    for value in values:
        parameter.data.copy_(value)
        average.guard(FINE)
    torch.testing.assert_close(average.values[0].double(), average_over(values, 0.9), atol=1e-6, rtol=1e-6)


def test_it_stands_in_the_place_of_the_parameters_for_a_while() -> None:
    parameter = nn.Parameter(torch.zeros(2, 1))
    _, average = averaged(parameter)
    for value in (1.0, 4.0):
        parameter.data.fill_(value)
        average.guard(FINE)
    with average.in_place():
        torch.testing.assert_close(parameter.data, torch.full((2, 1), (0.9 * 1 + 4) / 1.9))
    assert parameter.tolist() == [[4.0], [4.0]]


def test_a_restart_that_fails_has_its_best_parameters_and_the_others_their_average() -> None:
    parameter = nn.Parameter(torch.zeros(2, 1))
    restarts, average = averaged(parameter)
    parameter.data.fill_(torch.inf)  # a finite step that overflows
    parameter.data[1] = 3.0
    average.guard(FINE)
    with average.in_place():
        restarts.record(1, torch.zeros(2), keep_last=True, patience=None)
    assert restarts.failed.tolist() == [True, False]
    average.guard(FINE)
    assert parameter.tolist() == [[0.0], [3.0]]
    with average.in_place():
        assert parameter.tolist() == [[0.0], [3.0]]


def test_restarts_out_of_the_batch_keep_their_average() -> None:
    parameter = nn.Parameter(torch.tensor([[1.0], [2.0], [3.0]]))
    restarts, average = averaged(parameter)
    average.guard(torch.ones(3, dtype=torch.bool))
    restarts.batch.members = torch.tensor([1])
    with restarts.batch.narrowed([]):
        parameter.data.fill_(4.0)
        average.guard(torch.ones(1, dtype=torch.bool))
    assert average.values[0].tolist() == [[1.0], [pytest.approx((0.9 * 2 + 4) / 1.9)], [3.0]]


# In a training.


def machine(restarts: int = 2) -> tuple[BeliefNetwork, FactorialRecognition]:
    sizes = (6, 4, 2)
    return BeliefNetwork(sizes, restarts=restarts, seed=0), FactorialRecognition(sizes, restarts=restarts, seed=0)


def data(rows: int = 25) -> Tensor:
    return (torch.rand(rows, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def train(programs: Any, **settings: Any) -> helm.Result:
    chosen: dict[str, Any] = {"scheme": helm.ReweightedWakeSleep(3), "batch_size": 10, "progress": False} | settings
    model, guide = programs
    return helm.fit(model, guide, data(), **chosen)


def parameters(programs: Any) -> list[Tensor]:
    return [parameter.detach().clone() for program in programs for parameter in program.parameters()]


def test_what_fit_keeps_is_the_average_over_its_steps() -> None:
    """With all data in a step, the parameters after t steps are those that a training of t epochs ends with."""
    steps = []
    for num_epochs in (1, 2, 3, 4):
        plain = machine()
        train(plain, num_epochs=num_epochs, batch_size=None)
        steps.append(parameters(plain))
    kept = machine()
    train(kept, num_epochs=4, batch_size=None, average=0.6)
    for k, ours in enumerate(parameters(kept)):
        values = torch.stack([values[k] for values in steps])
        torch.testing.assert_close(ours.double(), average_over(values, 0.6), atol=1e-6, rtol=1e-5)


def test_averaging_does_not_change_the_training_itself() -> None:
    plain, smooth = train(machine(), num_epochs=3), train(machine(), num_epochs=3, average=0.9)
    assert plain.history.value.tolist() == smooth.history.value.tolist()  # of train_bound alone


def test_validation_is_of_the_averages() -> None:
    programs = machine()
    result = train(programs, num_epochs=1, valid=data(15), average=0.8, valid_samples=20)
    again = train(programs, num_epochs=1, valid=data(15), optimizer=partial(torch.optim.SGD, lr=0.0), valid_samples=20)
    first, second = (
        found.history.query("metric == 'valid_log_likelihood'").value.tolist() for found in (result, again)
    )
    assert first == second
    assert result.summary.best.tolist() == first


def test_captured_steps_average_as_eager_ones() -> None:
    found = []
    for kind in ("eager", "captured"):
        programs = machine()
        train(programs, num_epochs=2, average=0.9, step=kind, valid=data(10))
        found.append(parameters(programs))
    for theirs, ours in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_a_restart_that_has_stopped_leaves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"num_epochs": 5, "patience": 1, "valid": data(10), "average": 0.5}
    narrowed: list[int] = []
    narrow = Restarts.narrow

    def watched(self: Restarts, descent: torch.optim.Optimizer) -> bool:
        self.active[0] = False
        done = narrow(self, descent)
        narrowed.append(len(self.batch.members))
        return done

    monkeypatch.setattr(Restarts, "narrow", watched)
    programs = machine()
    result = train(programs, **settings)
    assert narrowed[0] == 1
    assert not result.summary.failed.any()
    assert result.summary.best_epoch[0] == 1
    assert all(parameter.isfinite().all() for parameter in parameters(programs))
    assert all(len(parameter) == 2 for parameter in parameters(programs))


def test_a_decay_out_of_range_is_refused() -> None:
    for decay in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=f"average must be a decay between 0 and 1 such as 0.999, got {decay}"):
            train(machine(), average=decay)
