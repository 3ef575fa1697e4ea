"""Layers of sequences: binary units at every step, driven by other layers and by their own last step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions import Bernoulli, TorchDistribution, constraints
from pyro.nn import PyroModule
from torch import Size, Tensor, nn


class ThroughTime(TorchDistribution):  # type: ignore[misc]
    """``p(s) = product over steps t of Bernoulli(s_t; sigmoid(drive_t + s_t-1 before))``, up to each sequence's end.

    Batch shape is that of the drive without its last two dimensions, event shape ``[steps, units]``. Steps after the
    end are masked: they have log-probability 0 and are drawn as 0. Scoring is one product of matrices, drawing one for
    each step.

    Args:
        drive: ``[..., steps, units]``.
        before: ``[units, units]``, or with restarts ``[restarts, units, units]``, from a step to the next.
        inside: ``[..., steps]``, whether a step is before the end; None where all are.
        validate_args: whether to check values; Pyro's setting if None.

    >>> inside = torch.tensor([True, True, False])
    >>> ThroughTime(torch.zeros(3, 1), torch.zeros(1, 1), inside).log_prob(torch.ones(3, 1))
    tensor(-1.3863)
    """

    arg_constraints: ClassVar = {"drive": constraints.real}

    def __init__(
        self, drive: Tensor, before: Tensor, inside: Tensor | None = None, *, validate_args: bool | None = None
    ) -> None:
        self.drive = drive
        self.before = before
        self.inside = inside
        super().__init__(drive.shape[:-2], drive.shape[-2:], validate_args=validate_args)

    @property
    def units(self) -> TorchDistribution:
        """Distribution of the units as if no step drove the next."""
        return Bernoulli(logits=self.drive)

    @property
    def support(self) -> constraints.Constraint:
        """Zeros and ones."""
        return constraints.independent(constraints.boolean, 2)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ThroughTime:
        """The same distribution with a larger batch shape; no parameter is written out."""
        drive = self.drive.expand(*batch_shape, *self.event_shape)
        return ThroughTime(drive, self.before, self.inside, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats, ``[...]``."""
        if self._validate_args:
            self._validate_sample(value)
        log_prob: Tensor = self._given(value).log_prob(value).sum(-1)
        return (log_prob if self.inside is None else torch.where(self.inside, log_prob, 0.0)).sum(-1)

    def units_given(self, value: Tensor) -> TorchDistribution:
        """Distribution of each unit given the step before it of a value ``[..., steps, units]``; 0 after the end."""
        units = self._given(value)
        return units if self.inside is None else Bernoulli(units.probs * self.inside[..., None], validate_args=False)

    def _given(self, value: Tensor) -> TorchDistribution:
        last = torch.cat([torch.zeros_like(value[..., :1, :]), value[..., :-1, :]], -2)
        before = self.before if self.before.dim() == 2 else self.before[:, None]
        return Bernoulli(logits=self.drive + last @ before, validate_args=False)

    def num_inside(self) -> Tensor:
        """Units that are not masked, ``[...]``."""
        steps, units = self.event_shape
        if self.inside is None:
            return torch.tensor(steps * units, device=self.drive.device)
        number: Tensor = self.inside.sum(-1) * units
        return number

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Step after step, ``[*sample_shape, *batch_shape, steps, units]``."""
        with torch.no_grad():
            drive = self.drive.expand(*Size(sample_shape), *self.batch_shape, *self.event_shape)
            last, drawn = torch.zeros_like(drive[..., 0, :]), []
            for step in drive.unbind(-2):
                last = torch.bernoulli(torch.sigmoid(step + last @ self.before))
                drawn.append(last)
            value = torch.stack(drawn, -2)
            return value if self.inside is None else value * self.inside[..., None].to(value)


class SequenceLayer(PyroModule):  # type: ignore[misc]
    """Units at every step, ``drive_t = causes_t weight + leak``, with another leak at the first step.

    Args:
        num_causes: units at each step that drive these; 0 for a top layer.
        num_units: units at each step.
        restarts: independent machines in one batch.
        recurrent: whether a step drives the next.
        generator: source of the initial values; torch's own if None.

    Attributes:
        weight: ``[restarts, causes, units]``.
        leak: ``[restarts, 1, units]``.
        first_leak: likewise, added at the first step.
        before: ``[restarts, units, units]``, from a step to the next.

    """

    def __init__(
        self,
        num_causes: int,
        num_units: int,
        *,
        restarts: int = 1,
        recurrent: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.restarts = restarts
        self.num_units = num_units

        def drawn(fan_in: int, rows: int) -> nn.Parameter:
            noise = torch.randn(restarts, rows, num_units, generator=generator)
            return nn.Parameter(min(0.3, 1.5 / max(1, fan_in) ** 0.5) * noise)

        self.weight = drawn(num_causes, num_causes) if num_causes else None
        self.leak = nn.Parameter(0.1 * torch.randn(restarts, 1, num_units, generator=generator))
        self.first_leak = nn.Parameter(torch.zeros(restarts, 1, num_units))
        self.before = drawn(num_units, num_units) if recurrent else None

    def conditional(self, num_steps: int) -> Callable[[Tensor | None], tuple[Tensor, Tensor | None]]:
        """Read the parameters now; give the function from causes to the drive and the weights from step to step.

        The causes are ``[..., restarts, data, steps, causes]``, the drive ``[..., restarts, data, steps, units]``; a
        single restart has no dimension of its own.
        """
        weight = None if self.weight is None else _of_steps(self.weight)
        is_first = torch.arange(num_steps, device=self.leak.device)[:, None] == 0
        leak = _of_steps(self.leak) + torch.where(is_first, _of_steps(self.first_leak), 0.0)
        before: Tensor | None = self.before
        if before is not None and self.restarts == 1:
            before = before.squeeze(0)
        return lambda causes: (leak if causes is None or weight is None else causes @ weight + leak, before)


def _of_steps(parameter: Tensor) -> Tensor:
    """``[restarts, rows, units]`` beside ``[restarts, data, steps, rows]``; of a single restart without that one."""
    return parameter.squeeze(0) if len(parameter) == 1 else parameter[:, None]
