"""Tensors whose first dimension is the restart."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def along(values: Tensor, parameter: Tensor) -> Tensor:
    """Values ``[restarts]`` with dimensions added, so that they broadcast with a parameter."""
    return values[0] if len(values) == 1 else values.reshape(-1, *[1] * (parameter.dim() - 1))


def all_finite(tensors: Iterable[Tensor], restarts: int) -> Tensor:
    """Whether all entries that a restart has in tensors ``[restarts, ...]`` are finite, ``[restarts]``."""
    first = 0 if restarts == 1 else 1
    totals = [tensor.sum(tuple(range(first, tensor.dim()))) if tensor.dim() > first else tensor for tensor in tensors]
    total = torch.stack(totals).sum(0)
    return (total * 0 == 0).reshape(restarts)  # isfinite takes twice as many operations, in every step
