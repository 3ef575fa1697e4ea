"""The Poisson imaging model: causes multiply a unit's rate."""

from __future__ import annotations

import math

import torch
from pyro.distributions import Poisson, TorchDistribution
from torch import Tensor

from pyro_helm.layers.imaging import Imaging


class PoissonCounts(Imaging):
    """``x ~ Poisson(exp(drive))`` for counts 0, 1, 2, ..."""

    def distribution(self, drive: Tensor) -> TorchDistribution:
        """Poisson with rate ``exp(drive[..., units])``."""
        return Poisson(torch.exp(drive))

    def drive_of_leak(self, leak: float) -> float:
        """The leak of a Poisson layer is given as a rate."""
        if not 0 < leak < math.inf:
            raise ValueError(f"the leak of a poisson layer must be a positive rate, got {leak}")
        return math.log(leak)
