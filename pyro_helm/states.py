"""Every state of a few binary units, and how probable each is if they are independent."""

from __future__ import annotations

import torch
from torch import Tensor


def all_states(num_units: int) -> Tensor:
    """Every binary state of some units, ``[2^units, units]``.

    >>> all_states(2)
    tensor([[0., 0.],
            [0., 1.],
            [1., 0.],
            [1., 1.]])
    """
    bits = torch.arange(num_units - 1, -1, -1)
    return ((torch.arange(2**num_units)[:, None] >> bits) & 1).float()


def state_probabilities(q: Tensor) -> Tensor:
    """Probability of each of :func:`all_states` where unit k is on with ``q_k``.

    ``[..., units]`` to ``[..., 2^units]``. A product, not the exponential of a sum, so that its gradient is exact where
    a ``q_k`` is 0 or 1.

    >>> state_probabilities(torch.tensor([0.5, 1.0]))
    tensor([0.0000, 0.5000, 0.0000, 0.5000])
    """
    probabilities = q.new_ones(*q.shape[:-1], 1)
    for unit in q.unbind(-1):
        pair = torch.stack([1 - unit, unit], -1)
        probabilities = (probabilities[..., :, None] * pair[..., None, :]).flatten(-2)
    return probabilities
