"""Restarts in training: which are still active, which have failed, and what is done with those that do."""

from __future__ import annotations

import warnings

import pandas as pd
import torch
from torch import Tensor, nn

from pyro_helm.programs.module_state import Buffers
from pyro_helm.training.active_batch import ActiveBatch
from pyro_helm.training.best_parameters import BestParameters
from pyro_helm.training.restart_tensors import all_finite


class Restarts:
    """Which restarts are active and which have failed, the best of each so far, and the batch of those that train.

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
        self.best = BestParameters(parameters, number, buffers)
        self.batch = ActiveBatch(parameters, number)
        device = parameters[0].device
        self.active = torch.ones(number, dtype=torch.bool, device=device)
        self.failed = torch.zeros(number, dtype=torch.bool, device=device)
        self.some_failed = False

    def guard(self, finite: Tensor) -> None:
        """Mark restarts for which this does not hold as failed; failed ones go back to their best parameters.

        Args:
            finite: whether loss and gradient were, of each restart in the batch, ``[restarts]``.

        """
        members = self.batch.members
        if finite.shape != members.shape:
            raise ValueError(
                f"the scheme gave losses of shape {list(finite.shape)} for {len(members)} restarts; "
                "model.restarts and the plate at dim=-2 must agree"
            )
        # only of the CPU, which would have to wait for another device in every step
        if finite.device.type == "cpu":
            self.some_failed = self.some_failed or not bool(finite.all())
            if not self.some_failed:
                return
        # one that has stopped and is still in the batch has not failed, but may not go on either
        self.failed[members] |= self.active[members] & ~finite
        self.active[members] &= finite
        self.best.put(self.failed[members] | ~finite, members)

    def record(self, epoch: int, score: Tensor, *, keep_last: bool, patience: int | None) -> None:
        """Keep the parameters of active restarts whose ``score[restarts]`` improved, and stop those out of patience."""
        # a step from finite losses and gradients may still overflow
        finite = all_finite([parameter.detach() for parameter in self.parameters], self.number)
        self.failed |= self.active & ~finite
        self.active &= finite
        self.some_failed = self.some_failed or bool(self.failed.any())
        improved = self.active & score.isfinite() & (keep_last | (score > self.best.score))
        self.best.keep(improved, epoch, score)
        if patience is not None:
            self.active &= epoch - self.best.epoch < patience

    def narrow(self, descent: torch.optim.Optimizer) -> bool:
        """Narrow the batch to the active restarts, as :meth:`ActiveBatch.narrow`; never where training moves buffers.

        Args:
            descent: whose state is narrowed too.

        """
        return not self.best.moving and self.batch.narrow(self.active, descent)

    def table(self) -> pd.DataFrame:
        """One row per restart: ``restart, best_epoch, best, failed``."""
        return pd.DataFrame(
            {
                "restart": range(self.number),
                "best_epoch": self.best.epoch.tolist(),
                "best": self.best.score.tolist(),
                "failed": self.failed.tolist(),
            }
        )

    def warn_of_failures(self, *, stacklevel: int) -> None:
        """Say which restarts have failed."""
        failed = self.failed.nonzero().flatten().tolist()
        if failed:
            warnings.warn(
                f"restarts {failed} of {self.number} failed: their loss, gradient or parameters became non-finite; "
                "they keep their best finite parameters",
                RuntimeWarning,
                stacklevel=stacklevel + 1,
            )
