"""Gradients of bounded norm, for each restart by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_helm.training.restart_tensors import along


def clipped(gradients: Sequence[Tensor | None], max_norm: float, restarts: int) -> tuple[Tensor | None, ...]:
    """Gradients, scaled down where a restart's norm over all of them is above ``max_norm``.

    Restart r's are multiplied by ``min(1, max_norm / |g_r|)``, ``|g_r|`` being the Euclidean norm of all its entries.

    Args:
        gradients: ``[restarts, ...]`` each, or of any shape with a single restart; None of what has none.
        max_norm: positive.
        restarts: how many there are.

    References:
        Pascanu, Mikolov & Bengio 2013, `On the difficulty of training recurrent neural networks
        <https://arxiv.org/abs/1211.5063>`__.

    >>> clipped([torch.tensor([[3.0, 4.0], [0.3, 0.4]])], 1.0, restarts=2)
    (tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]]),)
    """
    rows = [gradient.reshape(restarts, -1) for gradient in gradients if gradient is not None]
    # first divided by the largest entry, whose square may be out of range
    largest = torch.stack([row.abs().amax(1) for row in rows]).amax(0)
    unit = largest.clamp(min=torch.finfo(largest.dtype).tiny)
    squares = torch.stack([(row / unit.unsqueeze(1)).square().sum(1) for row in rows]).sum(0)
    scale = (max_norm / unit / squares.sqrt()).clamp(max=1.0)
    return tuple(None if gradient is None else gradient * along(scale, gradient) for gradient in gradients)
