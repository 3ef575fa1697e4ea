"""Imaging models: how the binary causes of one layer make the probabilities of the units below.

All three are one matrix product, the *drive* ``s @ weight + leak``, read in three ways:

========== ======================= ============================== =====================
imaging    drive                   probability of a unit          source (the paper)
========== ======================= ============================== =====================
sigmoid    logit                   ``1 / (1 + exp(-drive))``      section 3.3
noisy_or   rate, ``-log(1 - p)``   ``1 - exp(-drive)``            equation A.1
odds       odds, ``p / (1 - p)``   ``drive / (1 + drive)``        equation A.2
========== ======================= ============================== =====================

The paper's noisy-or parameter ``theta`` (the probability that a cause alone turns the unit on) is
``1 - exp(-weight)``: a product over causes of ``1 - s_k theta_k`` is then a sum of rates.

The paper: Dayan, Hinton, Neal & Zemel, The Helmholtz Machine, Neural Computation 7, 889-904 (1995).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ClassVar

import pyro
import torch
from pyro.distributions import TorchDistribution, constraints
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.nn.functional import linear

from pyro_helm.distributions import NoisyOrBernoulli, OddsBernoulli, SigmoidBernoulli


class Imaging(PyroModule):  # type: ignore[misc]
    """A layer of units driven by the binary causes above it; calling it gives their distribution.

    ``drive = causes @ weight + leak``, with ``leak`` the sum of a fixed and a learned part.

    Args:
        num_causes: units of the layer above; 0 for a top layer, which has its leak alone.
        num_units: units of this layer.
        restarts: independent machines held in one batch.
        fixed_leak: an always-on cause that is not learned, so that units do not die (Fig. 4 of the paper has 0.05):
            a logit for ``sigmoid``, a probability for ``noisy_or``, odds for ``odds``. None for none.
        learned_leak: whether there is a learned leak too.
        generator: source of the initial values; torch's own if None.

    Attributes:
        weight: ``[restarts, causes, units]``, in the units of the drive.
        learned_leak: ``[restarts, 1, units]``, in the units of the drive, or None.
        fixed_leak: a scalar in the units of the drive, or None.

    Raises:
        ValueError: if units could never turn on for want of a leak, or the fixed leak is out of range.

    """

    constraint: ClassVar[constraints.Constraint]
    """Values that a weight or leak may take; they are stored unconstrained."""

    def __init__(
        self,
        num_causes: int,
        num_units: int,
        *,
        restarts: int = 1,
        fixed_leak: float | None = None,
        learned_leak: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.restarts = restarts
        if num_causes:
            noise = torch.randn(restarts, num_causes, num_units, generator=generator)
            self.weight = PyroParam(self.initial_weight(noise), self.constraint)
        self.learned_leak = None
        if learned_leak:
            noise = torch.randn(restarts, 1, num_units, generator=generator)
            self.learned_leak = PyroParam(self.initial_leak(noise), self.constraint)
        elif fixed_leak is None:
            fixed_leak = self.without_leak(num_units)
        fixed_drive = None if fixed_leak is None else torch.tensor(self.drive_of_leak(fixed_leak))
        self.register_buffer("fixed_leak", fixed_drive)
        self.num_units = num_units

    @abstractmethod
    def distribution(self, drive: Tensor) -> TorchDistribution:
        """Distribution of single units with the given drive."""

    @abstractmethod
    def initial_weight(self, noise: Tensor) -> Tensor:
        """Initial weights ``[restarts, causes, units]`` from standard normal noise of that shape."""

    @abstractmethod
    def initial_leak(self, noise: Tensor) -> Tensor:
        """Initial leaks ``[restarts, 1, units]`` from standard normal noise of that shape."""

    @abstractmethod
    def drive_of_leak(self, leak: float) -> float:
        """Drive of a leak given as the imaging model states it; ValueError if out of range."""

    def without_leak(self, num_units: int) -> float:
        """Leak of a layer that was given none: an error where units need one to turn on."""
        raise ValueError(
            f"a {type(self).__name__} layer of {num_units} units has neither a fixed nor a learned leak, so its units "
            "could not turn on without a cause and log-probabilities would be infinite; give one of the two"
        )

    @property
    def leak(self) -> Tensor:
        """Sum of the fixed and the learned leak, ``[restarts, 1, units]``."""
        learned: Tensor | None = self.learned_leak
        fixed: Tensor | None = self.fixed_leak
        if learned is None:
            assert fixed is not None
            return fixed.expand(self.restarts, 1, self.num_units)
        return learned if fixed is None else learned + fixed

    def drive(self, causes: Tensor | None = None) -> Tensor:
        """``causes @ weight + leak``: ``[..., restarts, data, causes]`` to ``[..., restarts, data, units]``.

        Without causes, the leak alone, ``[restarts, 1, units]``. A single restart has no dimension of its own.
        """
        return _drive(causes, None if causes is None else self.weight, self.leak)

    def conditional(self) -> Callable[[Tensor | None], TorchDistribution]:
        """Read the parameters now; give the function from causes to the distribution of the units.

        A program reads them before it enters its plates, so that a prior put on them is sampled once, not per datum.
        """
        weight, leak = getattr(self, "weight", None), self.leak
        return lambda causes: self.distribution(_drive(causes, weight, leak)).to_event(1)

    def forward(self, causes: Tensor | None = None) -> TorchDistribution:
        """Distribution of the layer given its causes, with the units as event."""
        with local_parameters():
            return self.conditional()(causes)


def local_parameters() -> AbstractContextManager[None]:
    """Read parameters from their own module.

    By Pyro's default a module that is called reads them from the global store by name, where a second machine in the
    same process would silently get the first one's.
    """
    context: AbstractContextManager[None] = pyro.settings.context(module_local_params=True)
    return context


def _drive(causes: Tensor | None, weight: Tensor | None, leak: Tensor) -> Tensor:
    single = len(leak) == 1
    if causes is None or weight is None:
        return leak[0] if single else leak
    return linear(causes, weight[0].mT, leak[0, 0]) if single else causes @ weight + leak


class Sigmoid(Imaging):
    """``p = 1 / (1 + exp(-drive))`` (the paper, section 3.3)."""

    constraint = constraints.real

    def distribution(self, drive: Tensor) -> TorchDistribution:
        """Bernoulli with logit ``drive``."""
        return SigmoidBernoulli(drive)

    def initial_weight(self, noise: Tensor) -> Tensor:
        """Of either sign; large enough for restarts to begin differently, small enough for units not to saturate."""
        scale: float = min(0.3, 1.5 / noise.shape[-2] ** 0.5)
        return scale * noise

    def initial_leak(self, noise: Tensor) -> Tensor:
        """Even odds, nearly."""
        return 0.1 * noise

    def drive_of_leak(self, leak: float) -> float:
        """The leak of a sigmoid is a logit already."""
        return float(leak)

    def without_leak(self, num_units: int) -> float:
        """A sigmoid unit turns on by itself half of the time."""
        return 0.0


class NoisyOr(Imaging):
    """``p = 1 - exp(-drive)`` (the paper, A.1): each active cause turns the unit on independently of the others."""

    # softplus maps the logit of the paper's theta = 1 - exp(-weight) to the weight
    constraint = constraints.softplus_positive

    def distribution(self, drive: Tensor) -> TorchDistribution:
        """Bernoulli with rate ``drive``."""
        return NoisyOrBernoulli(drive)

    def initial_weight(self, noise: Tensor) -> Tensor:
        """Log-normal with median exp(-4): each unit listens to a few causes only."""
        return torch.exp(2 * noise - 4)

    def initial_leak(self, noise: Tensor) -> Tensor:
        """A rate near exp(-2)."""
        return torch.exp(0.1 * noise - 2)

    def drive_of_leak(self, leak: float) -> float:
        """Rate ``-log(1 - leak)`` of a leak probability."""
        if not 0 < leak < 1:
            raise ValueError(f"fixed_leak of a noisy_or layer is a probability between 0 and 1, got {leak}")
        return -math.log1p(-leak)


class Odds(Imaging):
    """``p = drive / (1 + drive)`` (the paper, A.2): the odds that the active causes contribute add up."""

    constraint = constraints.positive

    def distribution(self, drive: Tensor) -> TorchDistribution:
        """Bernoulli with odds ``drive``."""
        return OddsBernoulli(drive)

    def initial_weight(self, noise: Tensor) -> Tensor:
        """Log-normal with median exp(-4): each unit listens to a few causes only."""
        return torch.exp(2 * noise - 4)

    def initial_leak(self, noise: Tensor) -> Tensor:
        """Odds near exp(-2)."""
        return torch.exp(0.1 * noise - 2)

    def drive_of_leak(self, leak: float) -> float:
        """The leak of an odds layer is given as odds already."""
        if not 0 < leak < math.inf:
            raise ValueError(f"fixed_leak of an odds layer is a positive number of odds, got {leak}")
        return float(leak)


IMAGING: dict[str, type[Imaging]] = {"sigmoid": Sigmoid, "noisy_or": NoisyOr, "odds": Odds}
"""Imaging models by name."""
