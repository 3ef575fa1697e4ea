"""One training step, by any of three means that give the same numbers: eager, captured or compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from operator import is_not
from typing import cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from pyro_helm.programs.module_state import Buffers, BufferValues, same
from pyro_helm.runtime.captured_graphs import (
    Graph,
    capture,
    compiled,
    launched_at_once,
    reads_the_cpu,
    waits_for_values,
)
from pyro_helm.runtime.seeding import forked_rng, rng_state
from pyro_helm.training.descent import (
    Descend,
    Evaluation,
    Preparing,
    check_gradient_hooks,
    descending,
    descending_captured,
    has_hooks,
    hold_learning_rates_in_tensors,
    is_fused,
    settings_of,
)
from pyro_helm.training.gradient_clipping import clipped
from pyro_helm.training.restart_tensors import all_finite

STEPS = ("eager", "captured", "compiled")
"""Run the programs; replay the tensor operations of one run; replay them fused by torch's compiler."""

Losses = Callable[[Tensor], Tensor]
"""From the rows of a minibatch to losses ``[restarts]`` summed over it."""

Step = Callable[[Tensor], Tensor]
"""Descend on the rows of a minibatch; the losses there before, to be read before the next step."""


def training_step(
    kind: str,
    losses: Losses,
    parameters: Sequence[nn.Parameter],
    descent: torch.optim.Optimizer,
    guard: Callable[[Tensor], None],
    *,
    settings_change: bool,
    max_gradient_norm: float | None = None,
    buffers: Buffers | None = None,
    preparing: Preparing = nullcontext,
) -> Step:
    """A step of the kind ``"eager"``, ``"captured"`` or ``"compiled"``.

    Args:
        kind: one of :data:`STEPS`.
        losses: differentiable.
        parameters: with several restarts, each has them as its first dimension.
        descent: their optimiser; a fused one of torch's is captured too.
        guard: told after every step whether loss and gradients of a restart were finite, ``[restarts]``.
        settings_change: whether a learning rate will change: captured steps of Adam, AdamW and SGD follow it then. Once
            any other setting has changed, the optimiser's part of a step is no longer captured.
        max_gradient_norm: of a restart, see :func:`clipped`; None for any.
        buffers: of the programs, which a captured step changes as the programs do; None for none.
        preparing: makes a context in which steps are captured and compiled, so that it can be timed apart.

    Raises:
        ValueError: in a step, for losses that can't be captured, or whose captured operations give other numbers; for
            parameters that are all frozen, or have hooks that a captured step would not call.

    """
    buffers = Buffers([]) if buffers is None else buffers
    if settings_change:
        hold_learning_rates_in_tensors(descent)
    trained: list[nn.Parameter] = []
    take: Step | None = None

    def step(rows: Tensor) -> Tensor:
        nonlocal trained, take
        asked = [parameter for parameter in parameters if parameter.requires_grad]
        if take is None or len(asked) != len(trained) or any(map(is_not, asked, trained)):  # some are frozen by now
            for parameter in parameters:
                parameter.grad = None
            evaluate = _evaluation(losses, asked, max_gradient_norm)
            trained, take = asked, _step_of(kind, evaluate, asked, descent, guard, buffers, preparing)
        if kind != "eager":
            check_gradient_hooks(kind, asked)
        return take(rows)

    return step


def _evaluation(losses: Losses, parameters: Sequence[nn.Parameter], max_gradient_norm: float | None) -> Descend:
    """From the rows of a minibatch to losses and gradients of parameters none of which is frozen."""
    if not parameters:
        raise ValueError("all parameters of model and guide are frozen (requires_grad=False), so none can be trained")

    def evaluate(rows: Tensor) -> Evaluation:
        with torch.enable_grad():
            of_restarts = losses(rows)
            share = torch.full_like(of_restarts, 1 / len(rows))
            gradients = torch.autograd.grad(of_restarts, parameters, share, allow_unused=True)
        of_restarts = of_restarts.detach()
        known = [of_restarts, *(gradient for gradient in gradients if gradient is not None)]
        found = Evaluation(of_restarts, all_finite(known, len(of_restarts)), gradients)
        if max_gradient_norm is None:
            return found
        return found._replace(gradients=clipped(gradients, max_gradient_norm, len(of_restarts)))

    return evaluate


def _step_of(
    kind: str,
    evaluate: Descend,
    parameters: Sequence[nn.Parameter],
    descent: torch.optim.Optimizer,
    guard: Callable[[Tensor], None],
    buffers: Buffers,
    preparing: Preparing,
) -> Step:
    """A step for parameters none of which is frozen."""

    def guarded(descend: Descend) -> Step:
        def step(rows: Tensor) -> Tensor:
            found = descend(rows)
            guard(found.finite)
            return found.losses

        return step

    if kind == "eager":
        return guarded(descending(evaluate, parameters, descent))
    replayed, graphs = _captured(evaluate, buffers, preparing, compile=kind == "compiled")
    apart = guarded(descending(replayed, parameters, descent))
    if not is_fused(descent):
        return apart
    whole = guarded(descending_captured(replayed, parameters, descent, preparing))
    if parameters[0].device.type == "cuda":
        one_by_one, launched = whole, _launched_at_once(whole, graphs)
        whole = lambda rows: (one_by_one if has_hooks(parameters, descent) else launched)(rows)  # noqa: E731
    return _while_settings_stay(whole, apart, descent)


def _while_settings_stay(captured: Step, apart: Step, descent: torch.optim.Optimizer) -> Step:
    """The captured step while the optimiser's settings are those that it was captured with, else the other."""
    known = settings_of(descent)

    def step(rows: Tensor) -> Tensor:
        return (captured if settings_of(descent) == known else apart)(rows)

    return step


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


def _captured(
    evaluate: Descend, buffers: Buffers, preparing: Preparing, *, compile: bool
) -> tuple[Descend, Mapping[int, GraphModule]]:
    """Replay a graph for each size of minibatch; the first one's, which is the usual one, may be compiled.

    Returns:
        the replay, and the graphs so far, not compiled.

    """
    graphs: dict[int, GraphModule] = {}
    replayed: dict[int, Graph] = {}

    def replay(rows: Tensor) -> Evaluation:
        size = len(rows)
        if size not in graphs:
            with preparing():
                graphs[size] = _checked(evaluate, rows, buffers)
                replayed[size] = _compiled(graphs[size], rows, buffers) if compile and not replayed else graphs[size]
        with torch.no_grad():
            of_restarts, finite, *gradients = replayed[size](rows)
        return Evaluation(of_restarts, finite, tuple(gradients))

    return replay, graphs


def _checked(evaluate: Descend, rows: Tensor, buffers: Buffers) -> GraphModule:
    """The graph of an evaluation that, on other data and draws, gives its losses and gradients, and moves its buffers.

    The trials leave the buffers unchanged.
    """

    def flat(rows: Tensor) -> tuple[Tensor | None, ...]:
        of_restarts, finite, gradients = evaluate(rows)
        return of_restarts, finite, *gradients

    try:
        with buffers.restored(), forked_rng(0, rows.device):
            graph = capture(flat, rows)
            replaced = buffers.replaced()
    except ValueError as error:
        raise ValueError(f"this scheme and these programs can't be captured, use step='eager': {error}") from error
    if replaced:
        raise ValueError(
            f"the programs put a new tensor in the place of their buffer {replaced[0]!r}, which a captured step would "
            "go on reading as it was; change it in place (copy_, add_, lerp_), or use step='eager'"
        )
    others = rows.roll(1)
    expected, expected_buffers, expected_rng = _trial(flat, others, buffers)
    with torch.no_grad():
        found, found_buffers, found_rng = _trial(graph, others, buffers)
    if not torch.equal(found_rng, expected_rng):
        raise ValueError(
            "the captured step draws other random numbers than the programs do, which seed them or set their state "
            "(manual_seed, fork_rng); take step='eager'"
        )
    if not all(map(_agree, found, expected)):
        losses = cast(tuple[Tensor, Tensor], (found[0], expected[0]))
        raise ValueError(
            f"the captured step does not reproduce the programs: losses {losses[0].tolist()} instead of "
            f"{losses[1].tolist()}, or other gradients. The programs change from call to call; take step='eager'"
        )
    _check_buffers_agree(found_buffers, expected_buffers, buffers)
    return graph


def _compiled(graph: GraphModule, rows: Tensor, buffers: Buffers) -> Graph:
    """The graph compiled, checked to change buffers as it does."""
    with buffers.restored():
        fused = compiled(graph, rows)
    if buffers.current() and fused is not graph:
        with torch.no_grad():
            (_, expected, _), (_, found, _) = (_trial(run, rows, buffers) for run in (graph, fused))
        _check_buffers_agree(found, expected, buffers)
    return fused


def _trial(run: Graph, rows: Tensor, buffers: Buffers) -> tuple[tuple[Tensor | None, ...], BufferValues, Tensor]:
    """What it returns, and the buffers and random state after it, which then are as before."""
    with buffers.restored(), forked_rng(1, rows.device):
        return run(rows), buffers.snapshot(), rng_state(rows.device)


def _check_buffers_agree(found: BufferValues, expected: BufferValues, buffers: Buffers) -> None:
    for place, value in expected.items():
        if not same(found.get(place), value, tolerance=1e-4):
            raise ValueError(
                f"a captured step changes buffer {buffers.name(place)!r} otherwise than the programs do; use "
                "step='eager'"
            )


def _agree(ours: Tensor | None, theirs: Tensor | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    # gradients cancel, so that small ones may differ by more than a share of their own size
    scale = float(theirs.nan_to_num().abs().max()) if theirs.is_floating_point() else 0.0
    return torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * scale, equal_nan=True)
