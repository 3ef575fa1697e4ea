"""The best parameters and buffers of each restart so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pyro_helm.programs.module_state import Buffers, BufferValues, Place, same
from pyro_helm.training.restart_tensors import along


class BestParameters:
    """What each restart keeps of its training.

    Args:
        parameters: with several restarts, each has them as its first dimension.
        number: of restarts.
        buffers: with several restarts, those that training changes have them as their first dimension; None for none.

    Attributes:
        score: of what is kept, ``[restarts]``; minus infinity where nothing is.
        epoch: in which it was, ``[restarts]``; 0 where nothing is.

    """

    def __init__(self, parameters: list[nn.Parameter], number: int, buffers: Buffers | None = None) -> None:
        self.parameters = parameters
        self.number = number
        self.values = [parameter.detach().clone() for parameter in parameters]
        self.buffers = Buffers([]) if buffers is None else buffers
        self.buffer_values = self.buffers.snapshot()
        self.moving: list[Place] = []
        device = parameters[0].device
        self.score = torch.full((number,), -torch.inf, device=device)
        self.epoch = torch.zeros(number, dtype=torch.long, device=device)

    def keep(self, which: Tensor, epoch: int, score: Tensor) -> None:
        """Keep the parameters and buffers of these restarts, ``[restarts]``, as they are now."""
        self.score = torch.where(which, score, self.score)
        self.epoch[which] = epoch
        for value, parameter in zip(self.values, self.parameters, strict=True):
            value.copy_(torch.where(along(which, value), parameter.detach(), value))
        self.check_buffers()
        self.buffer_values |= self._chosen(which, self.buffers.current(), self.buffer_values)

    def put(self, which: Tensor, members: Tensor) -> None:
        """Set some restarts to their best.

        Args:
            which: of the restarts in the batch, ``[members]``.
            members: numbers of the restarts in the batch, which are all that the parameters have.

        """
        is_whole = len(which) == self.number
        with torch.no_grad():
            for value, parameter in zip(self.values, self.parameters, strict=True):
                kept = value if is_whole else value[members]
                parameter.copy_(torch.where(along(which, kept), kept, parameter))
            if self.moving:  # with such buffers, all restarts stay in the batch
                self.buffers.put(self._chosen(which, self.buffer_values, self.buffers.current()))

    def restore(self) -> None:
        """Set every restart to its best."""
        self._set(self.values)
        with torch.no_grad():
            self.buffers.put(self.buffer_values)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Every restart at its best for a while, then back to where its training stands."""
        current = [parameter.detach().clone() for parameter in self.parameters]
        with self.buffers.restored():
            self.restore()
            try:
                yield
            finally:
                self._set(current)

    def check_buffers(self) -> None:
        """See which buffers training changes; refuse those that several restarts would share."""
        for place, value in self.buffers.current().items():
            best = self.buffer_values.get(place)
            if place in self.moving or same(value, best):
                continue
            if self.number > 1 and (value is None or value.dim() == 0 or len(value) != self.number):
                raise ValueError(
                    f"buffer {self.buffers.name(place)!r} changes in training, and its first dimension is not the "
                    f"{self.number} restarts, which would share it; give it that dimension, or train one restart"
                )
            self.moving.append(place)

    def _set(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.copy_(value)

    def _chosen(self, which: Tensor, these: BufferValues, others: BufferValues) -> BufferValues:
        """Buffers that training changes: those of the first where a restart is chosen, of the second elsewhere."""
        chosen: BufferValues = {}
        for place in self.moving:
            value, other = these.get(place), others.get(place)
            if value is None or other is None or value.shape != other.shape:  # made on the way, by a single restart
                chosen[place] = value if bool(which.all()) else other
            else:
                chosen[place] = torch.where(along(which, value), value.detach(), other.detach())
        return chosen
