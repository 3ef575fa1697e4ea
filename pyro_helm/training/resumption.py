"""All that decides how a training goes on, taken from it and put back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyro_helm.training.passes import Pass
from pyro_helm.training.step_choice import numbers_of

if TYPE_CHECKING:
    from pyro_helm.training.run import TrainingRun

State = dict[str, Any]
"""Tensors, numbers and text, in dictionaries and lists."""


def state_of(run: TrainingRun) -> State:
    """The state of a run between two of its steps, outside a narrowed batch; its tensors are those of the run."""
    restarts, best = run.restarts, run.restarts.best
    return {
        "epoch": run.epoch,
        "pass": None if run.under_way is None else asdict(run.under_way),
        "is_over": run.is_over,
        "seconds": run.clock.seconds,
        "history": run.history.columns(),
        "parameters": [parameter.detach() for parameter in restarts.parameters],
        "is_trained": [parameter.requires_grad for parameter in restarts.parameters],
        "buffers": best.buffers.by_name(best.buffers.current()),
        "optimizer": run.descent.state_dict(),
        "scheduler": None if run.scheduler is None else run.scheduler.state_dict(),
        "average": None if run.averaged is None else [*run.averaged.values, run.averaged.weight],
        "best": {
            "parameters": best.values,
            "buffers": best.buffers.by_name(best.buffer_values),
            "moving": list(best.buffers.by_name(dict.fromkeys(best.moving))),
            "score": best.score,
            "epoch": best.epoch,
        },
        "restarts": {"active": restarts.active, "failed": restarts.failed, "batch": restarts.batch.members},
        "scheme": dict(run.scheme.state_dict()),
        "scheme_numbers": numbers_of(run.scheme),
        "random": _random_states(run.device),
    }


def restore(run: TrainingRun, state: State) -> None:
    """Put a run where a state was taken from one with the same settings; steps are to be made anew."""
    restarts, best = run.restarts, run.restarts.best
    run.epoch, run.is_over, run.clock.seconds = state["epoch"], state["is_over"], state["seconds"]
    run.under_way = None if state["pass"] is None else Pass(**state["pass"])
    run.history.restore(state["history"])
    with torch.no_grad():
        _copy(restarts.parameters, state["parameters"])
        for parameter, is_trained in zip(restarts.parameters, state["is_trained"], strict=True):
            parameter.requires_grad_(is_trained)
        best.buffers.put(best.buffers.by_place(state["buffers"]))
        _copy(best.values, state["best"]["parameters"])
        if run.averaged is not None:
            _copy([*run.averaged.values, run.averaged.weight], state["average"])
    best.buffer_values = best.buffers.by_place(state["best"]["buffers"])
    best.moving = list(best.buffers.by_place(dict.fromkeys(state["best"]["moving"])))
    best.score, best.epoch = state["best"]["score"], state["best"]["epoch"]
    restarts.active, restarts.failed = state["restarts"]["active"], state["restarts"]["failed"]
    restarts.batch.members = state["restarts"]["batch"]
    restarts.some_failed = bool(restarts.failed.any())
    run.descent.load_state_dict(state["optimizer"])
    if run.scheduler is not None:
        run.scheduler.load_state_dict(state["scheduler"])
    run.scheme.load_state_dict(state["scheme"])
    for name, number in state["scheme_numbers"].items():
        setattr(run.scheme, name, number)
    _restore_random_states(run.device, state["random"])


def _copy(tensors: Any, values: list[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _random_states(device: torch.device) -> dict[str, Tensor | None]:
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"cpu": torch.get_rng_state(), "cuda": on_gpu}


def _restore_random_states(device: torch.device, states: dict[str, Tensor | None]) -> None:
    if states["cpu"] is not None:
        torch.set_rng_state(states["cpu"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
