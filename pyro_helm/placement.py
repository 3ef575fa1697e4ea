"""Where a program's tensors live, what random numbers it draws and which parameters it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from inspect import getclosurevars
from types import FunctionType, MethodType
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
        made = torch.empty(0, device=device)
    except TypeError as error:
        raise TypeError(
            f"device must be a torch.device or its name, such as 'cpu' or 'cuda', got {device!r}"
        ) from error
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {str(device)!r} can't be used here: {reason}") from error
    if made.is_meta:
        raise ValueError("device 'meta' holds no numbers, so nothing can be computed there; use 'cpu' or 'cuda'")
    return device


def place_programs(
    programs: Sequence[torch.nn.Module], device: torch.device | str | None, dtype: torch.dtype | None
) -> None:
    """Move programs to one device and one floating-point type; refuse those that then differ in either."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype must be a floating-point type of torch, such as torch.float64, got {dtype!r}")
    checked_device(device)
    if device is None or dtype is None:
        _check_agree(programs, device is None, dtype is None)
    for program in programs:
        program.to(device=device, dtype=dtype)


def check_scored(model: Any, guide: Any) -> None:
    """Refuse what is no program, and modules on several devices or of several floating-point types."""
    for part, program in (("model", model), ("guide", guide)):
        if not callable(program) and not (part == "guide" and program is None):
            raise TypeError(f"{part} must be a Pyro program, a module or function, got {type(program).__name__}")
        if isinstance(program, type):
            raise TypeError(f"{part} must be a Pyro program, got the class {program.__name__}; make one of it")
    programs = (model, guide)
    _check_agree([program for program in programs if isinstance(program, torch.nn.Module)], True, True)


def _check_agree(programs: Sequence[torch.nn.Module], ask_device: bool, ask_dtype: bool) -> None:
    tensors = [tensor for program in programs for tensor in program.parameters() if tensor.is_floating_point()]
    for what, found, is_asked in (
        ("device", {str(tensor.device) for tensor in tensors}, ask_device),
        ("dtype", {str(tensor.dtype) for tensor in tensors}, ask_dtype),
    ):
        if is_asked and len(found) > 1:
            raise ValueError(
                f"parameters of model and guide must be of one {what}, got {' and '.join(sorted(found))}; move the "
                f"two with .to(...)"
            )
        if is_asked and "meta" in found:
            raise ValueError("parameters of model or guide are on device 'meta', which holds no numbers")


def own_param_store() -> AbstractContextManager[Any]:
    """An empty global param store for a while.

    In a Pyro module of the user's own, parameters give way to those of their name in the store, left there by another
    machine.
    """
    context: AbstractContextManager[Any] = pyro.get_param_store().scope()
    return context


def check_names_differ(*programs: object) -> None:
    """Raise ValueError for constrained parameters of one name in several modules, which Pyro's store would make one.

    Args:
        programs: Pyro programs; the modules behind functions, methods and partials are found too.

    """
    found: dict[str, torch.nn.Parameter] = {}
    for module in _modules_behind(list(programs)):
        for name, parameter in _constrained(module, ""):
            if found.setdefault(name, parameter) is not parameter:
                raise ValueError(
                    f"model and guide, or two modules in them, each have a parameter {name!r}, which Pyro would take "
                    "for one and the same; give them different names"
                )


def _constrained(module: torch.nn.Module, name: str) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The constrained parameters of a module by the names that they have in Pyro's store."""
    is_pyro = isinstance(module, PyroModule)
    if is_pyro:
        name = str(module._pyro_name) or name
        constrained: Any = getattr(module, "_pyro_params", ())
        for own in constrained:
            yield f"{name}.{own}".lstrip("."), getattr(module, f"{own}_unconstrained")
    for own, child in module.named_children():
        # a Pyro module inside another module of torch's begins with names of its own
        yield from _constrained(child, f"{name}.{own}".lstrip(".") if is_pyro else "")


def _modules_behind(programs: list[Any]) -> list[torch.nn.Module]:
    """The modules that programs are, belong to, are made of, or are closed over."""
    modules: list[torch.nn.Module] = []
    seen: set[int] = set()
    while programs:
        program = programs.pop()
        if id(program) in seen:
            continue
        seen.add(id(program))
        if isinstance(program, torch.nn.Module):
            modules.append(program)
        elif isinstance(program, partial):
            programs += [program.func, *program.args, *program.keywords.values()]
        elif isinstance(program, MethodType):
            programs += [program.__self__, program.__func__]
        elif isinstance(program, FunctionType):
            programs += [value for kind in getclosurevars(program)[:2] for value in kind.values()]
    return modules


def check_all_are_trained(parameters: list[torch.nn.Parameter]) -> None:
    """Refuse what the programs have put into the param store, empty before, that is not a parameter of theirs."""
    trained = {parameter.data_ptr() for parameter in parameters}
    for name, value in pyro.get_param_store().named_parameters():
        if value.data_ptr() not in trained:
            raise ValueError(
                f"{name!r} is made by a pyro.param statement and is no parameter of the module, so fit would not train "
                "it; make it a PyroParam of the module, or train with pyro.infer.SVI(model, guide, optim, loss=scheme)"
            )
