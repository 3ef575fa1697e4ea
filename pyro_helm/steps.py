"""One training step, by any of three means that give the same numbers: eager, captured or compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from pyro_helm.capture import Graph, capture, compiled, launched_at_once, reads_the_cpu, waits_for_values
from pyro_helm.full_batch import FullBatchOptimizer
from pyro_helm.placement import forked_rng
from pyro_helm.restarts import all_finite

STEPS = ("eager", "captured", "compiled")
"""Run the programs; replay the tensor operations of one run; replay them fused by torch's compiler."""

Losses = Callable[[Tensor], Tensor]
"""From the rows of a minibatch to losses ``[restarts]`` summed over it."""

Step = Callable[[Tensor], Tensor]
"""Descend on the rows of a minibatch; the losses there before, to be read before the next step."""


class Evaluation(NamedTuple):
    """Of a minibatch.

    Attributes:
        losses: summed over the minibatch, ``[restarts]``.
        finite: whether loss and gradients of a restart are, ``[restarts]``.
        gradients: of the mean loss, of each parameter; None of those that the loss does not depend on.

    """

    losses: Tensor
    finite: Tensor
    gradients: tuple[Tensor | None, ...]


_Descend = Callable[[Tensor], Evaluation]


def training_step(
    kind: str,
    losses: Losses,
    parameters: Sequence[nn.Parameter],
    descent: torch.optim.Optimizer,
    guard: Callable[[Tensor], None],
    *,
    settings_change: bool,
) -> Step:
    """A step of the kind ``"eager"``, ``"captured"`` or ``"compiled"``.

    Args:
        kind: one of :data:`STEPS`.
        losses: differentiable.
        parameters: with several restarts, each has them as its first dimension.
        descent: their optimiser; a fused one of torch's is captured too.
        guard: told after every step whether loss and gradients of a restart were finite, ``[restarts]``.
        settings_change: whether its settings, a learning rate say, may change later; then it is not captured.

    Raises:
        ValueError: in a step, for losses that can't be captured, or whose captured operations give other numbers.

    """
    parameters = [parameter for parameter in parameters if parameter.requires_grad]

    def evaluate(rows: Tensor) -> Evaluation:
        with torch.enable_grad():
            of_restarts = losses(rows)
            share = torch.full_like(of_restarts, 1 / len(rows))
            gradients = torch.autograd.grad(of_restarts, parameters, share, allow_unused=True)
        of_restarts = of_restarts.detach()
        known = [of_restarts, *(gradient for gradient in gradients if gradient is not None)]
        return Evaluation(of_restarts, all_finite(known, len(of_restarts)), gradients)

    def guarded(descend: _Descend) -> Step:
        def step(rows: Tensor) -> Tensor:
            found = descend(rows)
            guard(found.finite)
            return found.losses

        return step

    if kind == "eager":
        return guarded(_descending(evaluate, parameters, descent))
    replayed, graphs = _captured(evaluate, compile=kind == "compiled")
    if settings_change or not _is_fused(descent):
        return guarded(_descending(replayed, parameters, descent))
    whole = guarded(_descending_captured(replayed, parameters, descent))
    return _launched_at_once(whole, graphs) if parameters[0].device.type == "cuda" else whole


def _launched_at_once(step: Step, graphs: Mapping[int, GraphModule]) -> Step:
    """For each size of minibatch, once its first two steps have captured and made all that there is to.

    In the third it is seen whether the step can be launched at once; if not, its operations go on one by one.
    """
    launches: dict[int, Graph] = {}
    taken: Counter[int] = Counter()

    def launch(rows: Tensor) -> Tensor:
        size = len(rows)
        taken[size] += 1
        losses: Tensor
        if taken[size] == 3:
            losses, waits = waits_for_values(step, rows)
            if waits or reads_the_cpu(graphs[size]):
                launches[size] = step
            return losses
        if taken[size] > 3 and size not in launches:
            launches[size] = launched_at_once(step, rows)
        losses = launches.get(size, step)(rows)
        return losses

    return launch


def _descending(evaluate: _Descend, parameters: Sequence[nn.Parameter], descent: torch.optim.Optimizer) -> _Descend:
    def step(rows: Tensor) -> Evaluation:
        found: list[Evaluation] = []

        def closure() -> Tensor:
            found[:] = [evaluate(rows)]
            _set_gradients(parameters, found[0].gradients)
            losses = found[0].losses / len(rows)
            return losses if isinstance(descent, FullBatchOptimizer) else losses.sum()

        descent.step(closure)  # type: ignore[arg-type]
        return found[0]

    return step


def _descending_captured(
    evaluate: _Descend, parameters: Sequence[nn.Parameter], descent: torch.optim.Optimizer
) -> _Descend:
    """With the optimiser's second step captured: in its first it makes its state."""
    eager = _descending(evaluate, parameters, descent)
    descend: Graph | None = None

    def update(*gradients: Tensor | None) -> tuple[()]:
        _set_gradients(parameters, gradients)
        descent.step()
        return ()

    def step(rows: Tensor) -> Evaluation:
        nonlocal descend
        if not descent.state:
            return eager(rows)
        found = evaluate(rows)
        if descend is None:
            descend = capture(update, *found.gradients)  # takes the step as well
        else:
            descend(*found.gradients)
        return found

    return torch.no_grad()(step)


def _set_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def _captured(evaluate: _Descend, *, compile: bool) -> tuple[_Descend, Mapping[int, GraphModule]]:
    """Replay a graph for each size of minibatch; the first one's, which is the usual one, may be compiled.

    Returns:
        the replay, and the graphs so far, not compiled.

    """
    graphs: dict[int, GraphModule] = {}
    replayed: dict[int, Graph] = {}

    def replay(rows: Tensor) -> Evaluation:
        size = len(rows)
        if size not in graphs:
            graphs[size] = _checked(evaluate, rows)
            replayed[size] = compiled(graphs[size], rows) if compile and not replayed else graphs[size]
        with torch.no_grad():
            of_restarts, finite, *gradients = replayed[size](rows)
        return Evaluation(of_restarts, finite, tuple(gradients))

    return replay, graphs


def _checked(evaluate: _Descend, rows: Tensor) -> GraphModule:
    """The graph of an evaluation that, on other data and draws, gives the losses and gradients of the evaluation."""

    def flat(rows: Tensor) -> tuple[Tensor | None, ...]:
        of_restarts, finite, gradients = evaluate(rows)
        return of_restarts, finite, *gradients

    try:
        with forked_rng(0, rows.device):
            graph = capture(flat, rows)
    except ValueError as error:
        raise ValueError(f"this scheme and these programs can't be captured, use step='eager': {error}") from error
    others = rows.roll(1)
    with forked_rng(1, rows.device):
        expected = flat(others)
    with forked_rng(1, rows.device), torch.no_grad():
        found = graph(others)
    if not all(map(_agree, found, expected)):
        losses = cast(tuple[Tensor, Tensor], (found[0], expected[0]))
        raise ValueError(
            f"a captured step gave losses {losses[0].tolist()}, or gradients, that differ from those of the programs, "
            f"{losses[1].tolist()}: they do another thing at every call, or make draws that they do not use, which "
            "only step='eager' follows"
        )
    return graph


def _agree(ours: Tensor | None, theirs: Tensor | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    # gradients cancel, so that small ones may differ by more than a share of their own size
    scale = float(theirs.nan_to_num().abs().max()) if theirs.is_floating_point() else 0.0
    return torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * scale, equal_nan=True)


def _is_fused(descent: torch.optim.Optimizer) -> bool:
    # all that a fused one keeps from step to step is in tensors; others look at numbers on the way
    torchs = type(descent).__module__.startswith("torch.optim")
    return torchs and all(group.get("fused") for group in descent.param_groups)
