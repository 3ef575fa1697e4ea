"""Full-batch optimisers for deterministic schemes: scipy's, for every restart by itself, evaluated together.

Conjugate gradient is what Dayan, Hinton, Neal & Zemel 1995 trained their deterministic machine with.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_helm.runtime.arguments import at_least_one

Vector = NDArray[np.float64]
Losses = Callable[[], Tensor]
"""Computes the losses ``[restarts]`` of the parameters as they stand, and leaves their gradients in ``.grad``.

A scalar is the loss of a single restart.
"""


class FullBatchOptimizer(torch.optim.Optimizer):
    """One of scipy's minimisers, run on each restart by itself with a line search and memory of its own.

    All restarts ask for their next loss and gradient in lockstep, so that one batched evaluation answers them all. A
    step is ``iterations`` iterations, after which the minimiser begins anew. Use float64: a line search sees the
    rounding errors of float32, of which a RuntimeWarning tells.

    Args:
        params: parameters; with several restarts, each has them as its first dimension.
        iterations: of the minimiser in a step; :func:`pyro_helm.fit` takes one step per epoch.
        lr: must be None: the step size comes from the line search.

    Raises:
        ValueError: for a learning rate, or fewer than 1 iteration; in a step, for a closure that gives neither a scalar
            nor one loss per restart, or with several restarts a parameter without them as its first dimension.

    """

    method: ClassVar[str]
    """Name of the minimiser in :func:`scipy.optimize.minimize`."""

    def __init__(self, params: Iterable[Tensor], *, iterations: int = 50, lr: float | None = None) -> None:
        if lr is not None:
            raise ValueError(
                f"{type(self).__name__} finds its steps by line search and takes no learning_rate, got {lr}"
            )
        super().__init__(params, {})
        self.iterations = at_least_one("iterations", iterations)
        coarse = {p.dtype for group in self.param_groups for p in group["params"]} - {torch.float64}
        if coarse:
            warnings.warn(
                f"the line searches of {type(self).__name__} need float64 and may end early in the rounding errors of "
                f"{', '.join(sorted(map(str, coarse)))}; make the parameters float64 (dtype=torch.float64 in fit)",
                RuntimeWarning,
                stacklevel=2,
            )

    def step(self, closure: Losses) -> Tensor:  # type: ignore[override]
        """Run the minimiser on every restart; the losses ``[restarts]`` it ends with."""
        trained = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        number = len(_losses(closure))
        _check_first_dimension(trained, number)

        def evaluate(points: Vector) -> tuple[Vector, Vector]:
            _set_rows(trained, points)
            losses = _losses(closure)
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
            return losses.double().cpu().numpy(), _rows(gradients, number)

        minimise_in_step(evaluate, _rows(trained, number), method=self.method, iterations=self.iterations)
        return _losses(closure)


class ConjugateGradient(FullBatchOptimizer):
    """Nonlinear conjugate gradient with a line search.

    It is scipy's ``CG``, the variant of Polak & Ribiere; the paper names none.

    >>> data = load_data("bars").distribution
    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> settings = {"batch_size": None, "num_epochs": 2, "dtype": torch.float64, "progress": False}
    >>> history = fit(model, guide, data, scheme=MeanField(), optimizer=ConjugateGradient, **settings).history
    >>> history.value.is_monotonic_increasing
    True
    """

    method = "CG"


class LBFGS(FullBatchOptimizer):
    """Limited-memory BFGS for every restart by itself.

    It is scipy's ``L-BFGS-B``; torch's own class would mix restarts.

    >>> data = load_data("bars").distribution
    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> settings = {"batch_size": None, "num_epochs": 2, "dtype": torch.float64, "progress": False}
    >>> history = fit(model, guide, data, scheme=MeanField(), optimizer=LBFGS, **settings).history
    >>> history.value.is_monotonic_increasing
    True
    """

    method = "L-BFGS-B"


def minimise_in_step(
    evaluate: Callable[[Vector], tuple[Vector, Vector]], start: Vector, *, method: str, iterations: int
) -> Vector:
    """Minimise many functions at once, each by its own run of a scipy minimiser, with shared evaluations.

    Args:
        evaluate: from points ``[functions, dimensions]`` to values ``[functions]`` and gradients like the points.
        start: first points.
        method: of :func:`scipy.optimize.minimize`.
        iterations: at most so many for each.

    Returns:
        the last points; ``evaluate`` has been called with them last.

    """
    from scipy.optimize import minimize  # late: it would lengthen the import of this library

    points = start.copy()
    questions: SimpleQueue[tuple[int, Vector | None]] = SimpleQueue()
    answers: list[SimpleQueue[tuple[float, Vector] | None]] = [SimpleQueue() for _ in start]

    def run(row: int) -> Vector:
        ask = _asking(row, questions, answers[row])
        try:
            result = minimize(ask, start[row], jac=True, method=method, options={"maxiter": iterations})
            return np.asarray(result.x)
        finally:
            questions.put((row, None))

    # set once for all threads: scipy would set it in each, and undo what another has set meanwhile
    with warnings.catch_warnings(), ThreadPoolExecutor(len(start)) as pool:
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="scipy")
        runs = [pool.submit(run, row) for row in range(len(start))]
        running = set(range(len(start)))
        try:
            while running:
                # every run that has not ended asks once a round, or ends
                round_of_questions = [questions.get() for _ in range(len(running))]
                for row, point in round_of_questions:
                    points[row] = runs[row].result() if point is None else point
                asking = [row for row, point in round_of_questions if point is not None]
                running = set(asking)
                if asking:
                    values, gradients = evaluate(points)
                    for row in asking:
                        answers[row].put((float(values[row]), gradients[row]))
        finally:
            for row in running:
                answers[row].put(None)
    evaluate(points)
    return points


def _asking(
    row: int, questions: SimpleQueue[tuple[int, Vector | None]], answers: SimpleQueue[tuple[float, Vector] | None]
) -> Callable[[Vector], tuple[float, Vector]]:
    """What a minimiser takes for its function: it puts a question and waits for the answer."""

    def ask(point: Vector) -> tuple[float, Vector]:
        questions.put((row, point.copy()))
        answer = answers.get()
        if answer is None:
            raise _Abandoned
        return answer

    return ask


class _Abandoned(Exception):
    """Ends a minimiser whose next answer will not come, after Ctrl-C or an error in the evaluation."""


def _losses(closure: Losses) -> Tensor:
    """One loss per restart, ``[restarts]``."""
    with torch.enable_grad():
        losses = closure().detach()
    if losses.dim() > 1 or not losses.numel():
        raise ValueError(
            f"the closure must give a scalar or one loss per restart, got losses of shape {list(losses.shape)}"
        )
    return losses.reshape(-1)


def _check_first_dimension(parameters: list[Tensor], number: int) -> None:
    for parameter in parameters:
        if number > 1 and (parameter.dim() == 0 or len(parameter) != number):
            raise ValueError(
                f"with losses of {number} restarts every parameter must have them as its first dimension, got a "
                f"parameter of shape {list(parameter.shape)}"
            )


def _rows(tensors: list[Tensor], number: int) -> Vector:
    """One row per restart of all the entries that are its own."""
    rows = torch.cat([tensor.detach().reshape(number, -1) for tensor in tensors], 1)
    return np.array(rows.double().cpu().numpy())


def _set_rows(parameters: list[Tensor], rows: Vector) -> None:
    start = 0
    with torch.no_grad():
        for parameter in parameters:
            width = parameter.numel() // len(rows)
            values = torch.from_numpy(rows[:, start : start + width])
            parameter.copy_(values.reshape(parameter.shape))
            start += width
