"""Where a program's tensors live and what random numbers it draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def forked_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed of one's own; the caller's random state is as it was afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
