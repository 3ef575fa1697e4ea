"""Where a program's tensors live: their device and dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import torch


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
        if "device type at start of device string" in reason:  # torch goes on with every kind there is
            reason = "expected cpu, cuda or another device of torch"
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
