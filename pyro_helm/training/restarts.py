"""Restarts in training: the best of each so far, which are still active, and which are in the batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from pyro_helm.programs.module_state import Buffers, BufferValues, Place, same


class Restarts:
    """The best parameters and buffers of each restart so far, and which restarts are still active.

    Args:
        parameters: with several restarts, each has them as its first dimension.
        number: of restarts.
        buffers: with several restarts, those that training changes have them as their first dimension; None for none.

    Raises:
        ValueError: for no parameters, or one without the dimension.

    """

    def __init__(self, parameters: list[nn.Parameter], number: int, buffers: Buffers | None = None) -> None:
        if not parameters:
            raise ValueError("model and guide have no parameters to train")
        for parameter in parameters:
            if number > 1 and (parameter.dim() == 0 or len(parameter) != number):
                raise ValueError(
                    f"with {number} restarts every parameter must have them as its first dimension, got a parameter of "
                    f"shape {list(parameter.shape)}"
                )
        self.number = number
        self.parameters = parameters
        self.best = [parameter.detach().clone() for parameter in parameters]
        self.buffers = Buffers([]) if buffers is None else buffers
        self.best_buffers = self.buffers.snapshot()
        self.moving: list[Place] = []
        device = parameters[0].device
        self.best_score = torch.full((number,), -torch.inf, device=device)
        self.best_epoch = torch.zeros(number, dtype=torch.long, device=device)
        self.active = torch.ones(number, dtype=torch.bool, device=device)
        self.failed = torch.zeros(number, dtype=torch.bool, device=device)
        self.in_batch = torch.arange(number, device=device)
        self.some_failed = False

    def guard(self, finite: Tensor) -> None:
        """Mark restarts for which this does not hold as failed; failed ones go back to their best parameters.

        Args:
            finite: whether loss and gradient were, of each restart in the batch.

        """
        if finite.shape != self.in_batch.shape:
            raise ValueError(
                f"the scheme gave losses of shape {list(finite.shape)} for {len(self.in_batch)} restarts; "
                "model.restarts and the plate at dim=-2 must agree"
            )
        # only of the CPU, which would have to wait for another device in every step
        if finite.device.type == "cpu":
            self.some_failed = self.some_failed or not bool(finite.all())
            if not self.some_failed:
                return
        # one that has stopped and is still in the batch has not failed, but may not go on either
        self.failed[self.in_batch] |= self.active[self.in_batch] & ~finite
        self.active[self.in_batch] &= finite
        self._set_to_best(self.failed[self.in_batch] | ~finite)

    def narrow(self, descent: torch.optim.Optimizer) -> bool:
        """Leave out of the batch those that are not active, for good, if they are half of it; whether it was done.

        Not sooner, since a step is captured anew for a batch of another size; and never where training changes buffers.

        Args:
            descent: whose state is narrowed too.

        """
        active = self.active[self.in_batch]
        if self.moving or not bool(active.any()) or 2 * int(active.sum()) > len(active):
            return False
        for state in descent.state.values():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.dim() and len(value) == len(active):
                    state[name] = value[active]
        self.in_batch = self.in_batch[active]
        return True

    @contextmanager
    def batched(self, programs: Iterable[nn.Module]) -> Iterator[None]:
        """Programs and parameters with the restarts in the batch alone, for a while.

        Args:
            programs: those whose modules say in ``restarts`` how many there are.

        """
        if len(self.in_batch) == self.number:
            yield
            return
        parts: list[Any] = [part for program in programs for part in program.modules() if hasattr(part, "restarts")]
        whole = [parameter.data for parameter in self.parameters]
        try:
            for parameter in self.parameters:
                parameter.grad, parameter.data = None, parameter.data[self.in_batch]
            for part in parts:
                part.restarts = len(self.in_batch)
            yield
        finally:
            for part in parts:
                part.restarts = self.number
            for parameter, values in zip(self.parameters, whole, strict=True):
                if parameter.data.shape != values.shape:  # all are, but for Ctrl-C on the way
                    values[self.in_batch] = parameter.data
                parameter.grad, parameter.data = None, values

    def record(self, epoch: int, score: Tensor, *, keep_last: bool, patience: int | None) -> None:
        """Keep the parameters of the active restarts that have improved, and stop those out of patience."""
        # a step from finite losses and gradients may still overflow
        finite = all_finite([parameter.detach() for parameter in self.parameters], self.number)
        self.failed |= self.active & ~finite
        self.active &= finite
        self.some_failed = self.some_failed or bool(self.failed.any())
        improved = self.active & score.isfinite() & (keep_last | (score > self.best_score))
        self.best_score = torch.where(improved, score, self.best_score)
        self.best_epoch[improved] = epoch
        for best, parameter in zip(self.best, self.parameters, strict=True):
            best.copy_(torch.where(self._along(improved, best), parameter.detach(), best))
        self.check_buffers()
        self.best_buffers |= self._chosen(improved, self.buffers.current(), self.best_buffers)
        if patience is not None:
            self.active &= epoch - self.best_epoch < patience

    def restore(self) -> None:
        """Set the parameters of every restart to their best."""
        with torch.no_grad():
            for best, parameter in zip(self.best, self.parameters, strict=True):
                parameter.copy_(best)
            self.buffers.put(self.best_buffers)

    def check_buffers(self) -> None:
        """See which buffers training changes; refuse those that several restarts would share."""
        for place, value in self.buffers.current().items():
            best = self.best_buffers.get(place)
            if place in self.moving or same(value, best):
                continue
            if self.number > 1 and (value is None or value.dim() == 0 or len(value) != self.number):
                raise ValueError(
                    f"buffer {self.buffers.name(place)!r} changes in training, and its first dimension is not the "
                    f"{self.number} restarts, which would share it; give it that dimension, or train one restart"
                )
            self.moving.append(place)

    def _chosen(self, which: Tensor, these: BufferValues, others: BufferValues) -> BufferValues:
        """Buffers that training changes: those of the first where a restart is chosen, of the second elsewhere."""
        chosen: BufferValues = {}
        for place in self.moving:
            value, other = these.get(place), others.get(place)
            if value is None or other is None or value.shape != other.shape:  # made on the way, by a single restart
                chosen[place] = value if bool(which.all()) else other
            else:
                chosen[place] = torch.where(self._along(which, value), value.detach(), other.detach())
        return chosen

    def _set_to_best(self, which: Tensor) -> None:
        """Set the parameters of these restarts in the batch to their best."""
        is_whole = len(which) == self.number
        with torch.no_grad():
            for best, parameter in zip(self.best, self.parameters, strict=True):
                kept = best if is_whole else best[self.in_batch]
                parameter.copy_(torch.where(self._along(which, kept), kept, parameter))
            if self.moving:  # with such buffers, all restarts stay in the batch
                self.buffers.put(self._chosen(which, self.best_buffers, self.buffers.current()))

    @contextmanager
    def best_in_place(self) -> Iterator[None]:
        """Every restart at its best for a while, then back to where its training stands."""
        current = [parameter.detach().clone() for parameter in self.parameters]
        with self.buffers.restored():
            self.restore()
            try:
                yield
            finally:
                self._put_back(current)

    def _put_back(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.copy_(value)

    def table(self) -> pd.DataFrame:
        """One row per restart: ``restart, best_epoch, best, failed``."""
        return pd.DataFrame(
            {
                "restart": range(self.number),
                "best_epoch": self.best_epoch.tolist(),
                "best": self.best_score.tolist(),
                "failed": self.failed.tolist(),
            }
        )

    def warn_of_failures(self) -> None:
        """Say which restarts have failed."""
        failed = self.failed.nonzero().flatten().tolist()
        if failed:
            warnings.warn(
                f"restarts {failed} of {self.number} failed: their loss, gradient or parameters became non-finite; "
                "they keep their best finite parameters",
                RuntimeWarning,
                stacklevel=3,
            )

    def _along(self, which: Tensor, parameter: Tensor) -> Tensor:
        return which[0] if self.number == 1 else which.reshape(-1, *[1] * (parameter.dim() - 1))


def all_finite(tensors: Iterable[Tensor], restarts: int) -> Tensor:
    """Whether all entries that a restart has in tensors ``[restarts, ...]`` are finite, ``[restarts]``."""
    first = 0 if restarts == 1 else 1
    totals = [tensor.sum(tuple(range(first, tensor.dim()))) if tensor.dim() > first else tensor for tensor in tensors]
    total = torch.stack(totals).sum(0)
    return (total * 0 == 0).reshape(restarts)  # isfinite takes twice as many operations, in every step
