"""Units in blocks, each block given those before it: what lateral connections make of a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Size, Tensor

Family = Callable[[Tensor, slice], TorchDistribution]
"""From the drive of some units, and which these are, to their distribution."""


class Autoregressive(TorchDistribution):  # type: ignore[misc]
    """``p(x) = product over blocks b of p(x_b | drive_b + sum over earlier units i of x_i lateral_ib)``.

    Batch shape is that of the drive without its last dimension, event shape ``[units]``. Scoring is one product of
    matrices, drawing one for each block.

    Args:
        drive: what drives each unit from outside the layer, ``[..., units]``.
        lateral: ``[units, units]``, or with restarts ``[restarts, units, units]``; 0 from a unit to any of its own
            block and of earlier ones.
        blocks: the units of each block.
        family: distribution of units given their drive.
        validate_args: whether to check values; Pyro's setting if None.

    References:
        Gregor, Danihelka, Mnih, Blundell & Wierstra 2014, `Deep autoregressive networks
        <https://arxiv.org/abs/1310.8499>`__.
    """

    arg_constraints: ClassVar = {"drive": constraints.real_vector}

    def __init__(
        self,
        drive: Tensor,
        lateral: Tensor,
        blocks: Sequence[slice],
        family: Family,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.drive = drive
        self.lateral = lateral
        self.blocks = tuple(blocks)
        self.family = family
        super().__init__(drive.shape[:-1], drive.shape[-1:], validate_args=validate_args)

    @property
    def units(self) -> TorchDistribution:
        """Distribution of the units as if there were no lateral connections."""
        return self.family(self.drive, slice(None))

    def units_given(self, value: Tensor) -> TorchDistribution:
        """Distribution of each unit given the units of a value ``[..., units]`` that are in earlier blocks."""
        rows = value[None] if value.dim() == 1 and self.lateral.dim() > 2 else value
        return self.family(self.drive + rows @ self.lateral, slice(None))

    @property
    def support(self) -> constraints.Constraint:
        """That of the units."""
        support = self.units.support
        return support if support.event_dim else constraints.independent(support, 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Autoregressive:
        """The same distribution with a larger batch shape; no parameter is written out."""
        drive = self.drive.expand(*batch_shape, self.drive.shape[-1])
        return Autoregressive(drive, self.lateral, self.blocks, self.family, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats, ``[...]``."""
        if self._validate_args:
            self._validate_sample(value)
        units = self.units_given(value)
        log_prob: Tensor = units.log_prob(value)
        return log_prob if units.event_dim else log_prob.sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Block after block, ``[*sample_shape, *batch_shape, units]``."""
        with torch.no_grad():
            drawn: list[Tensor] = []
            for block in self.blocks:
                drive = self.drive[..., block].expand(*Size(sample_shape), *self.batch_shape, -1)
                if drawn:
                    drive = drive + torch.cat(drawn, -1) @ self.lateral[..., : block.start, block]
                units = self.family(drive, block)
                drawn.append(units.rsample() if units.has_rsample else units.sample())
            return torch.cat(drawn, -1)
