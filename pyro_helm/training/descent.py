"""One step of an optimiser on losses that are evaluated first, so that its hooks see the gradients of this step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import optimizer as optimizers

from pyro_helm.runtime.captured_graphs import Graph, capture
from pyro_helm.training.full_batch import FullBatchOptimizer


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


Descend = Callable[[Tensor], Evaluation]

Preparing = Callable[[], AbstractContextManager[Any]]
"""Makes a context in which what is done once, before steps like it, is done."""


def descending(evaluate: Descend, parameters: Sequence[nn.Parameter], descent: torch.optim.Optimizer) -> Descend:
    """With the gradients there before the optimiser's step, whose hooks look at them."""

    def step(rows: Tensor) -> Evaluation:
        found: list[Evaluation] = []
        place: list[int] = []

        def closure() -> Tensor:
            if not found or place != [parameter._version for parameter in parameters]:
                if found and _has_pre_hooks(descent):
                    raise ValueError(
                        f"hooks before a step of {type(descent).__name__} would see only its first gradients, since "
                        "it, or a hook, moves the parameters and asks again; use an optimiser that takes one gradient "
                        "in a step, such as Adam, and hooks that leave the parameters alone"
                    )
                found[:] = [evaluate(rows)]
                _set_gradients(parameters, found[0].gradients)
                place[:] = [parameter._version for parameter in parameters]
            losses = found[0].losses / len(rows)
            return losses if isinstance(descent, FullBatchOptimizer) else losses.sum()

        closure()
        descent.step(closure)  # type: ignore[arg-type]
        return found[0]

    return step


def descending_captured(
    evaluate: Descend,
    parameters: Sequence[nn.Parameter],
    descent: torch.optim.Optimizer,
    preparing: Preparing = nullcontext,
) -> Descend:
    """With the optimiser's second step captured: in its first it makes its state."""
    eager = descending(evaluate, parameters, descent)
    descend: Graph | None = None
    has_begun = False

    def update(*gradients: Tensor | None) -> tuple[()]:
        _set_gradients(parameters, gradients)
        descent.step()
        return ()

    def step(rows: Tensor) -> Evaluation:
        nonlocal descend, has_begun
        if not has_begun or not descent.state or has_hooks(parameters, descent):
            has_begun = True
            return eager(rows)
        found = evaluate(rows)
        if descend is None:
            with preparing():
                descend = capture(update, *found.gradients)  # takes the step as well
        else:
            descend(*found.gradients)
        return found

    return torch.no_grad()(step)


def laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """A gradient ``[...]`` with the strides of its parameter, which torch's fused optimisers take for granted.

    >>> laid_out_as(torch.zeros(2, 3), torch.ones(3, 2).T).stride()
    (3, 1)
    """
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


def _set_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else laid_out_as(parameter, gradient)
    for parameter in parameters:
        if parameter._post_accumulate_grad_hooks and parameter.grad is not None:
            for hook in list(parameter._post_accumulate_grad_hooks.values()):
                hook(parameter)


def check_gradient_hooks(kind: str, parameters: Sequence[nn.Parameter]) -> None:
    """Refuse hooks that autograd calls, which only a step that runs it does."""
    for parameter in parameters:
        if parameter._backward_hooks:
            raise ValueError(
                f"a parameter of shape {list(parameter.shape)} has a hook on its gradient (register_hook), which a "
                f"step that is {kind} would not call; use step='eager'"
            )


def has_hooks(parameters: Sequence[nn.Parameter], descent: torch.optim.Optimizer) -> bool:
    """Whether Python is to run between gradients and update, or after it."""
    return bool(
        _has_pre_hooks(descent)
        or descent._optimizer_step_post_hooks
        or optimizers._global_optimizer_post_hooks
        or any(parameter._post_accumulate_grad_hooks for parameter in parameters)
    )


def _has_pre_hooks(descent: torch.optim.Optimizer) -> bool:
    return bool(descent._optimizer_step_pre_hooks or optimizers._global_optimizer_pre_hooks)


def is_fused(descent: torch.optim.Optimizer) -> bool:
    """Whether an optimiser's step is operations on tensors alone, which can be captured."""
    # all that a fused one keeps from step to step is in tensors; others look at numbers on the way
    torchs = type(descent).__module__.startswith("torch.optim")
    return torchs and all(group.get("fused") for group in descent.param_groups)


def hold_learning_rates_in_tensors(descent: torch.optim.Optimizer) -> None:
    """Put them where captured steps read them anew, and torch's schedulers change them in place."""
    if not is_fused(descent) or not isinstance(descent, torch.optim.Adam | torch.optim.AdamW | torch.optim.SGD):
        return
    for group in descent.param_groups:
        if not isinstance(group["lr"], Tensor):
            device = group["params"][0].device
            # what the fused operations take: on the CPU they convert it to a number, which is then the same one
            dtype = torch.float64 if device.type == "cpu" else torch.float32
            group["lr"] = torch.tensor(group["lr"], dtype=dtype, device=device)


def settings_of(descent: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """An optimiser's settings, to see if one has changed; of tensors which, for their values are read anew."""
    return [
        {name: id(value) if isinstance(value, Tensor) else value for name, value in group.items()}
        for group in ({**group, "params": None} for group in descent.param_groups)
    ]
