"""Restarts in training: the best parameters of each so far, and which are still active."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor, nn


class Restarts:
    """The best parameters of each restart so far, and which restarts are still active.

    Args:
        parameters: with several restarts, each has them as its first dimension.
        number: of restarts.

    Raises:
        ValueError: for no parameters, or one without the dimension.

    """

    def __init__(self, parameters: list[nn.Parameter], number: int) -> None:
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
        device = parameters[0].device
        self.best_score = torch.full((number,), -torch.inf, device=device)
        self.best_epoch = torch.zeros(number, dtype=torch.long, device=device)
        self.active = torch.ones(number, dtype=torch.bool, device=device)
        self.failed = torch.zeros(number, dtype=torch.bool, device=device)

    def guard(self, finite: Tensor) -> None:
        """Mark the restarts for which this does not hold as failed; failed ones go back to their best parameters.

        Args:
            finite: whether loss and gradient were, ``[restarts]``.

        """
        if finite.shape != (self.number,):
            raise ValueError(
                f"the scheme gave losses of shape {list(finite.shape)} for {self.number} restarts; model.restarts and "
                "the plate at dim=-2 must agree"
            )
        self.failed |= ~finite
        self.active &= finite
        # on another device, to ask whether any has failed would make the CPU wait for it in every step
        if finite.device.type != "cpu" or bool(self.failed.any()):
            self.restore(self.failed)

    def record(self, epoch: int, score: Tensor, *, keep_last: bool, patience: int | None) -> None:
        """Keep the parameters of the active restarts that have improved, and stop those out of patience."""
        improved = self.active & score.isfinite() & (keep_last | (score > self.best_score))
        self.best_score = torch.where(improved, score, self.best_score)
        self.best_epoch[improved] = epoch
        for best, parameter in zip(self.best, self.parameters, strict=True):
            best.copy_(torch.where(self._along(improved, best), parameter.detach(), best))
        if patience is not None:
            self.active &= epoch - self.best_epoch < patience

    def restore(self, which: Tensor) -> None:
        """Set the parameters of these restarts to their best."""
        with torch.no_grad():
            for best, parameter in zip(self.best, self.parameters, strict=True):
                parameter.copy_(torch.where(self._along(which, best), best, parameter))

    @contextmanager
    def best_in_place(self) -> Iterator[None]:
        """Every restart at its best for a while, then back to where its training stands."""
        current = [parameter.detach().clone() for parameter in self.parameters]
        self.restore(torch.ones_like(self.active))
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, current, strict=True):
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
                f"restarts {failed} of {self.number} failed: their loss or parameters became non-finite; they "
                "keep their best finite parameters",
                RuntimeWarning,
                stacklevel=3,
            )

    def _along(self, which: Tensor, parameter: Tensor) -> Tensor:
        return which[0] if self.number == 1 else which.reshape(-1, *[1] * (parameter.dim() - 1))
