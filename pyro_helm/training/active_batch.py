"""The batch of restarts that train side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class ActiveBatch:
    """Who is in the batch.

    Args:
        parameters: with several restarts, each has them as its first dimension.
        number: of restarts, all of them in the batch at first.

    Attributes:
        members: numbers of the restarts in the batch, rising.

    """

    def __init__(self, parameters: list[nn.Parameter], number: int) -> None:
        self.parameters = parameters
        self.number = number
        self.members = torch.arange(number, device=parameters[0].device)

    def narrow(self, active: Tensor, descent: torch.optim.Optimizer) -> bool:
        """Leave out those that are not active, for good, if they are half of the batch; whether it was done.

        Not sooner, since a step is captured anew for a batch of another size.

        Args:
            active: which restarts are, ``[restarts]``.
            descent: whose state is narrowed too.

        """
        kept = active[self.members]
        if not bool(kept.any()) or 2 * int(kept.sum()) > len(kept):
            return False
        for parameter, state in descent.state.items():
            of_batch = (len(kept), *parameter.shape[1:])
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == of_batch:
                    state[name] = value[kept]
        self.members = self.members[kept]
        return True

    @contextmanager
    def narrowed(self, programs: Iterable[nn.Module]) -> Iterator[None]:
        """Programs and parameters with the restarts in the batch alone, for a while.

        Args:
            programs: those whose modules say in ``restarts`` how many there are.

        """
        if len(self.members) == self.number:
            yield
            return
        parts: list[Any] = [part for program in programs for part in program.modules() if hasattr(part, "restarts")]
        whole = [parameter.data for parameter in self.parameters]
        try:
            for parameter in self.parameters:
                parameter.grad, parameter.data = None, parameter.data[self.members]
            for part in parts:
                part.restarts = len(self.members)
            yield
        finally:
            for part in parts:
                part.restarts = self.number
            for parameter, values in zip(self.parameters, whole, strict=True):
                if parameter.data.shape != values.shape:  # all are, but for Ctrl-C on the way
                    values[self.members] = parameter.data
                parameter.grad, parameter.data = None, values
