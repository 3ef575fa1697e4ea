"""Where a program's tensors live, what random numbers it draws and which parameters it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypedDict

import pyro
import torch
from pyro.nn import PyroModule


class Placement(TypedDict):
    """Keyword arguments of :meth:`torch.Tensor.to`."""

    device: torch.device
    dtype: torch.dtype


def placement(program: Any) -> Placement:
    """Device and dtype of a module's first parameter; torch's defaults for a program without any."""
    parameters = program.parameters() if isinstance(program, torch.nn.Module) else iter(())
    reference: torch.Tensor = next(parameters, torch.empty(0))
    return {"device": reference.device, "dtype": reference.dtype}


def draws_held(device: torch.device) -> int:
    """Draws that are held in memory at a time: few enough for a processor's caches, many enough to fill a GPU."""
    return 20_000 if device.type == "cpu" else 100_000


def wait_for(device: torch.device) -> None:
    """Until all that was asked of a device is done, so that time can be measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def forked_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed of one's own; the caller's random state is as it was afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def checked_device(device: torch.device | str | None) -> torch.device | str | None:
    """The device itself; ValueError if it can't be computed on."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {str(device)!r} can't be used here: {reason}") from error
    return device


def own_param_store() -> AbstractContextManager[Any]:
    """An empty global param store for a while.

    In a Pyro module of the user's own, parameters give way to those of their name in the store, left there by another
    machine.
    """
    context: AbstractContextManager[Any] = pyro.get_param_store().scope()
    return context


def check_names_differ(model: torch.nn.Module, guide: torch.nn.Module) -> None:
    """Raise ValueError for a constrained parameter of one name in both, which Pyro's store would make one."""
    if isinstance(model, PyroModule) and isinstance(guide, PyroModule):
        ours, theirs = (dict(part.named_parameters()) for part in (model, guide))
        for name in ours.keys() & theirs.keys():
            if name.endswith("_unconstrained") and ours[name] is not theirs[name]:
                raise ValueError(
                    f"model and guide each have a parameter {name.removesuffix('_unconstrained')!r}, which Pyro would "
                    "take for one and the same; give them different names"
                )


def check_all_are_trained(parameters: list[torch.nn.Parameter]) -> None:
    """Refuse what the programs have put into the param store, empty before, that is not a parameter of theirs."""
    trained = {parameter.data_ptr() for parameter in parameters}
    for name, value in pyro.get_param_store().named_parameters():
        if value.data_ptr() not in trained:
            raise ValueError(
                f"{name!r} is made by a pyro.param statement and is no parameter of the module, so fit would not train "
                "it; make it a PyroParam of the module, or train with pyro.infer.SVI(model, guide, optim, loss=scheme)"
            )
