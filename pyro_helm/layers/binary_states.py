"""Every state of a few binary units, and how probable each is if they are independent."""

from __future__ import annotations

import torch
from torch import Tensor


class AllStates:
    """Every binary state of some units, ``[2^units, units]``, of which rows are made when they are asked for.

    >>> AllStates(2, torch.zeros(()))[0:4]
    tensor([[0., 0.],
            [0., 1.],
            [1., 0.],
            [1., 1.]])
    """

    def __init__(self, num_units: int, like: Tensor) -> None:
        self.num_units = num_units
        self.like = like

    def __len__(self) -> int:
        return int(2**self.num_units)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        device = self.like.device
        index = torch.arange(rows.start, rows.stop, device=device) if isinstance(rows, slice) else rows
        bits = torch.arange(self.num_units - 1, -1, -1, device=device)
        return ((index[:, None] >> bits) & 1).to(self.like.dtype)


def all_states(num_units: int, like: Tensor) -> Tensor:
    """Every binary state of some units at once, ``[2^units, units]``, on the device and in the dtype of another tensor.

    >>> all_states(2, torch.zeros(()))
    tensor([[0., 0.],
            [0., 1.],
            [1., 0.],
            [1., 1.]])
    """
    return AllStates(num_units, like)[0 : 2**num_units]


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
