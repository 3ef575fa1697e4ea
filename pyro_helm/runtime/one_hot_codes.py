"""One-hot codes by a comparison: torch's own look at the values, which a captured step can't."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["one_hot"]


def one_hot(index: Tensor, size: int) -> Tensor:
    """``[..., size]`` of booleans, on where the index points; nowhere for an index out of range.

    >>> one_hot(torch.tensor([2, 0]), 3).int().tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    return index[..., None] == torch.arange(size, device=index.device)
