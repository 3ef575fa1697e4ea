"""Exponential averages of the parameters over the steps of a training, for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pyro_helm.training.restart_tensors import along
from pyro_helm.training.restarts import Restarts


class WeightAverage:
    """Average of each restart's parameters over its steps, later ones counting more.

    After t steps it is ``sum_i d^(t - i) p_i / sum_i d^(t - i)``, with p_i the parameters after step i and d the decay:
    a mean over the last ``1 / (1 - d)`` steps or so, without a share of the initial values.
    Buffers are not averaged: they are those of the last step.

    Args:
        restarts: whose parameters are averaged.
        decay: between 0 and 1.

    References:
        Polyak & Juditsky 1992, `Acceleration of stochastic approximation by averaging
        <https://doi.org/10.1137/0330046>`__; Kingma & Ba 2015, `Adam <https://arxiv.org/abs/1412.6980>`__, for the
        correction of early steps.

    """

    def __init__(self, restarts: Restarts, decay: float) -> None:
        self.restarts = restarts
        self.decay = decay
        self.values = [parameter.detach().clone() for parameter in restarts.parameters]
        # a tensor, which steps that are launched at once on a GPU read anew
        self.weight = torch.zeros((), dtype=torch.float64, device=self.values[0].device)

    @torch.no_grad()
    def guard(self, finite: Tensor) -> None:
        """What :meth:`Restarts.guard` does with ``finite[restarts]``, then the average over this step too."""
        self.restarts.guard(finite)
        self.weight.mul_(self.decay).add_(1 - self.decay)
        share = (1 - self.decay) / self.weight
        for value, parameter in zip(self.values, self.restarts.parameters, strict=True):
            if value.shape == parameter.shape:
                value.lerp_(parameter, share.to(value.dtype))
            else:  # some restarts are out of the batch
                rows = self.restarts.batch.members
                value[rows] = value[rows].lerp(parameter, share.to(value.dtype))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages in the place of the parameters for a while; of a failed restart its best parameters."""
        parameters = self.restarts.parameters
        current = [parameter.detach().clone() for parameter in parameters]
        try:
            with torch.no_grad():
                for parameter, value, best in zip(parameters, self.values, self.restarts.best.values, strict=True):
                    parameter.copy_(torch.where(along(self.restarts.failed, value), best, value))
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(parameters, current, strict=True):
                    parameter.copy_(value)
