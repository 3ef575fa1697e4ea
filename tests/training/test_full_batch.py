"""Full-batch optimisers: each restart is minimised as it would be alone, and none can harm another."""

from __future__ import annotations

import math
import re
import threading
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, rosen, rosen_der
from torch import Tensor

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.particles import Program
from pyro_helm.training.full_batch import FullBatchOptimizer, Vector, minimise_in_step

METHODS = ("CG", "L-BFGS-B")
OPTIMIZERS = (helm.ConjugateGradient, helm.LBFGS)
START: Vector = 3 * np.random.default_rng(0).normal(size=(7, 4))

Evaluate = Callable[[Vector], tuple[Vector, Vector]]


def value_and_slope(row: int, point: Vector) -> tuple[float, Vector]:
    """A curved valley, a bowl and a roof upside down: they take different numbers of evaluations."""
    if row % 3 == 0:
        return float(rosen(point)), rosen_der(point)
    if row % 3 == 1:
        return float(((point - row) ** 2).sum()), 2 * (point - row)
    return float(np.abs(point).sum()), np.sign(point)


def evaluate_all(points: Vector) -> tuple[Vector, Vector]:
    values, slopes = zip(*(value_and_slope(row, point) for row, point in enumerate(points)), strict=True)
    return np.array(values), np.array(slopes)


def alone(row: int, method: str, iterations: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return minimize(
            lambda point: value_and_slope(row, point), START[row], jac=True, method=method,
            options={"maxiter": iterations},
        )  # fmt: skip


@pytest.mark.parametrize("iterations", [1, 7, 60])
@pytest.mark.parametrize("method", METHODS)
def test_each_function_is_minimised_as_by_scipy_alone(method: str, iterations: int) -> None:
    asked = []

    def evaluate(points: Vector) -> tuple[Vector, Vector]:
        asked.append(points.copy())
        return evaluate_all(points)

    ends = minimise_in_step(evaluate, START, method=method, iterations=iterations)
    expected = [alone(row, method, iterations) for row in range(len(START))]
    assert np.array_equal(ends, np.array([result.x for result in expected]))
    assert np.array_equal(asked[-1], ends)
    # shared evaluations: as many as the longest run needs, and the last
    assert iterations == 1 or len({result.nfev for result in expected}) > 1
    assert len(asked) == max(result.nfev for result in expected) + 1


@pytest.mark.parametrize("method", METHODS)
def test_a_start_is_left_as_it_is_and_one_function_is_enough(method: str) -> None:
    start = START[1:2].copy()
    ends = minimise_in_step(lambda points: (((points - 1) ** 2).sum(-1), 2 * (points - 1)), start,
                            method=method, iterations=20)  # fmt: skip
    assert np.array_equal(start, START[1:2])
    assert np.allclose(ends, 1.0)


@pytest.mark.parametrize("method", METHODS)
def test_warnings_filters_are_as_before(method: str) -> None:
    """Scipy sets them for a while in every thread."""
    before = list(warnings.filters)
    minimise_in_step(evaluate_all, START, method=method, iterations=60)
    assert list(warnings.filters) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("evaluations", [1, 2, 9])
def test_an_error_in_the_evaluation_ends_every_run(evaluations: int, method: str, error: type[BaseException]) -> None:
    number, threads = 0, threading.active_count()

    def evaluate(points: Vector) -> tuple[Vector, Vector]:
        nonlocal number
        number += 1
        if number == evaluations:
            raise error("out of memory, say")
        return evaluate_all(points)

    with pytest.raises(error, match="out of memory, say"):
        minimise_in_step(evaluate, START, method=method, iterations=60)
    assert number == evaluations
    assert threading.active_count() == threads


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("good_evaluations", [0, 5])
def test_a_function_that_is_not_finite_harms_no_other(good_evaluations: int, method: str, bad: float) -> None:
    number = 0

    def evaluate(points: Vector) -> tuple[Vector, Vector]:
        nonlocal number
        number += 1
        values, slopes = evaluate_all(points)
        if number > good_evaluations:
            values[[1, 3]], slopes[[1, 3]] = bad, bad
        return values, slopes

    ends = minimise_in_step(evaluate, START, method=method, iterations=40)
    for row in (0, 2, 4, 5, 6):
        assert np.array_equal(ends[row], alone(row, method, 40).x)


def data() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    return (
        prototypes[torch.randint(2, (40,), generator=generator)] + (torch.rand(40, 6, generator=generator) < 0.05)
    ) % 2


def machine(restarts: int = 1, seed: int = 0) -> tuple[BeliefNetwork, FactorialRecognition]:
    sizes = (6, 4, 2)
    return (
        BeliefNetwork(sizes, "odds", restarts=restarts, fixed_leak=(0.05, 0.05, None), seed=seed),
        FactorialRecognition(sizes, restarts=restarts, seed=seed),
    )


def fit(model: Any, guide: Any, x: Any = None, **settings: Any) -> helm.Result:
    defaults: dict[str, Any] = {
        "scheme": helm.MeanField(),
        "optimizer": helm.ConjugateGradient,
        "num_epochs": 4,
        "batch_size": None,
        "dtype": torch.float64,
        "progress": False,
    }
    return helm.fit(model, guide, data() if x is None else x, **(defaults | settings))


@pytest.mark.parametrize("scheme", [helm.MeanField(), helm.ExactMeanField()], ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_free_energy_falls_in_every_epoch(optimizer: type[FullBatchOptimizer], scheme: helm.Scheme) -> None:
    result = fit(*machine(3), optimizer=partial(optimizer, iterations=5), scheme=scheme)
    for _, own in result.history.groupby("restart"):
        values = own.value.tolist()
        assert len(values) == 4
        assert all(later > earlier for earlier, later in pairwise(values))
    assert not result.summary.failed.any()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_restarts_train_as_they_would_alone(optimizer: type[FullBatchOptimizer]) -> None:
    model, guide = machine(3)
    initial = [{name: value.double() for name, value in part.state_dict().items()} for part in (model, guide)]
    fit(model, guide, optimizer=partial(optimizer, iterations=4), num_epochs=2)
    for restart in range(3):
        single: list[Any] = list(machine(1))
        for part, values in zip(single, initial, strict=True):
            part.double().load_state_dict(
                {name: value[restart : restart + 1] if value.dim() else value for name, value in values.items()}
            )
        fit(*single, optimizer=partial(optimizer, iterations=4), num_epochs=2)
        for part, together in ((single[0], model), (single[1], guide)):
            for (name, parameter), many in zip(part.named_parameters(), together.parameters(), strict=True):
                # a line search magnifies rounding errors
                assert torch.allclose(parameter[0], many[restart], rtol=1e-6, atol=1e-8), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_parameters_stay(optimizer: type[FullBatchOptimizer]) -> None:
    model, guide = machine(2)
    frozen = model.generative[0].weight_unconstrained.requires_grad_(False)
    before = frozen.detach().double().clone()
    moved = guide.recognition[0].weight_unconstrained.detach().double().clone()
    fit(model, guide, optimizer=partial(optimizer, iterations=5), num_epochs=1)
    assert torch.equal(model.generative[0].weight_unconstrained, before)
    assert not torch.equal(guide.recognition[0].weight_unconstrained, moved)


class FailingRestart(helm.MeanField):
    """Restart 1's loss becomes NaN after some evaluations."""

    evaluations = 0

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        losses = super().restart_losses(model, guide, *args, **kwargs)
        self.evaluations += 1
        poison = torch.ones_like(losses)
        if self.evaluations > 20:
            poison[1] = torch.nan
        return losses * poison


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_restart_that_fails_is_marked_and_the_others_go_on(optimizer: type[FullBatchOptimizer]) -> None:
    with pytest.warns(RuntimeWarning, match=r"restarts \[1\] of 3 failed"):
        result = fit(*machine(3), scheme=FailingRestart(), optimizer=partial(optimizer, iterations=6))
    sound = fit(*machine(3), optimizer=partial(optimizer, iterations=6))
    assert result.summary.failed.tolist() == [False, True, False]
    others = result.history.restart != 1
    expected = sound.history[sound.history.restart != 1]
    assert result.history[others].value.tolist() == pytest.approx(expected.value.tolist(), abs=1e-6)


def test_ctrl_c_in_an_evaluation_ends_the_training_with_what_there_is() -> None:
    class Interrupting(helm.MeanField):
        evaluations = 0

        def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
            self.evaluations += 1
            if self.evaluations == 12:
                raise KeyboardInterrupt
            return super().restart_losses(model, guide, *args, **kwargs)

    threads = threading.active_count()
    model, guide = machine(2)
    result = fit(model, guide, scheme=Interrupting(), optimizer=partial(helm.LBFGS, iterations=3))
    assert result.interrupted
    assert threading.active_count() == threads
    assert 1 <= result.history.epoch.max() < 4
    kept = helm.MeanField().loss(model, guide, observations={"x": data()})
    assert math.isfinite(kept)


def test_it_can_be_used_without_fit() -> None:
    model, guide = (part.double() for part in machine(3))
    parameters = [*model.parameters(), *guide.parameters()]
    descent, x = helm.ConjugateGradient(parameters, iterations=10), data().double()

    def closure() -> Tensor:
        descent.zero_grad()
        losses = helm.MeanField().restart_losses(model, guide, observations={"x": x})
        losses.sum().backward()
        return losses.detach()

    first = closure()
    last = descent.step(closure)
    assert last.shape == (3,)
    assert bool((last < first).all())
    assert torch.equal(last, closure())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_scalar_loss_is_that_of_a_single_restart(optimizer: type[FullBatchOptimizer]) -> None:
    free = [torch.zeros((), dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)]
    parameters = [p.requires_grad_() for p in free]
    descent = optimizer(parameters)

    def closure() -> Tensor:
        descent.zero_grad()
        loss = (parameters[0] - 3) ** 2 + (parameters[1] ** 2).sum() + 1
        loss.backward()
        return loss

    last = descent.step(closure)
    assert last.shape == (1,)
    assert float(last) == pytest.approx(1.0, abs=1e-9)
    assert float(parameters[0].detach()) == pytest.approx(3.0, abs=1e-4)


@pytest.mark.parametrize(
    ("shape", "losses", "sentence"),
    [
        ((3, 2), (2,), "with losses of 2 restarts every parameter must have them as its first dimension, got a "
         "parameter of shape [3, 2]"),
        ((), (2,), "got a parameter of shape []"),
        ((2, 2), (2, 1), "the closure must give a scalar or one loss per restart, got losses of shape [2, 1]"),
    ],
)  # fmt: skip
def test_losses_and_parameters_of_different_restarts_are_refused_in_a_sentence(
    shape: tuple[int, ...], losses: tuple[int, ...], sentence: str
) -> None:
    parameter = torch.ones(shape, dtype=torch.float64, requires_grad=True)
    before = parameter.detach().clone()
    with pytest.raises(ValueError, match=re.escape(sentence)):
        helm.LBFGS([parameter]).step(lambda: parameter.sum().expand(losses))
    assert torch.equal(parameter, before)


def test_float32_is_warned_of_once() -> None:
    sentence = r"line searches of LBFGS need float64 and may end early in the rounding errors of torch.float32; make"
    with pytest.warns(RuntimeWarning, match=sentence) as caught:
        fit(*machine(2), optimizer=partial(helm.LBFGS, iterations=3), dtype=None, num_epochs=2)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"learning_rate": 0.1},
            "ConjugateGradient finds its steps by line search and takes no learning_rate, got 0.1",
        ),
        ({"optimizer": helm.LBFGS, "learning_rate": 0.1}, "LBFGS finds its steps by line search"),
        (
            {"scheme": helm.WakeSleep()},
            "ConjugateGradient needs a loss that is the same at every call, but WakeSleep samples; use a deterministic",
        ),
        (
            {"batch_size": 10},
            "ConjugateGradient needs all 40 data in every step, got batch_size=10; use batch_size=None",
        ),
        (
            {"schedule": lambda descent: torch.optim.lr_scheduler.ExponentialLR(descent, 0.5)},
            "ConjugateGradient has no learning rate, so schedule must be None",
        ),
        ({"optimizer": partial(helm.LBFGS, iterations=0)}, "iterations must be at least 1, got 0"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        fit(*machine(2), **settings)


def test_a_batch_as_large_as_the_data_is_all_of_them() -> None:
    fit(*machine(2), optimizer=partial(helm.LBFGS, iterations=3), batch_size=100, num_epochs=1)
