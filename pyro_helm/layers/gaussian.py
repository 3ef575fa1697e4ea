"""The Gaussian imaging model: causes add to a unit's mean."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Normal, TorchDistribution, constraints
from pyro.nn import PyroParam
from torch import Tensor

from pyro_helm.layers.imaging import Imaging, of_units

LEAST_SCALE = 1e-3
"""A unit that never varies would otherwise have a density without bound."""


class Gaussian(Imaging):
    """``x ~ Normal(drive, scale)`` for real numbers, with a learned scale of each unit, above ``LEAST_SCALE``.

    Attributes:
        scale: standard deviations, ``[restarts, 1, units]``, 1 at first: columns should be of that order.

    """

    def __init__(self, num_causes: int, num_units: int, **settings: Any) -> None:
        super().__init__(num_causes, num_units, **settings)
        self.scale = PyroParam(torch.ones(self.restarts, 1, num_units), constraints.greater_than(LEAST_SCALE))

    def unit_parameters(self) -> tuple[Tensor, ...]:
        """The scale, ``[restarts, 1, units]``; of a single restart, ``[1, units]``."""
        return (of_units(self.scale),)

    def distribution(self, drive: Tensor, scale: Tensor | None = None) -> TorchDistribution:
        """Normal with mean ``drive[..., units]``."""
        return Normal(drive, of_units(self.scale) if scale is None else scale)
