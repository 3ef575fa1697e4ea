"""Bernoulli distributions parameterised by what drives a binary unit: a logit, a rate or odds."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from pyro.distributions import Bernoulli, constraints
from torch import Size, Tensor
from torch.distributions import Distribution, register_kl
from torch.distributions.utils import lazy_property
from torch.nn.functional import logsigmoid, softplus


class DrivenBernoulli(Bernoulli):  # type: ignore[misc]
    """Abstract Bernoulli with a drive; subclasses say what the drive means.

    Args:
        drive: tensor or number, one per unit.
        logits: the same as ``log p - log (1 - p)``; give one of the two.
        validate_args: whether to check arguments and values; Pyro's setting if None.

    Raises:
        ValueError: if neither or both are given, or with validation for a drive out of its support or a value that is
            not 0 or 1.

    """

    drive_name: ClassVar[str]

    def __init__(
        self, drive: Tensor | float | None = None, *, logits: Tensor | float | None = None, validate_args: bool | None = None
    ) -> None:
        if (drive is None) == (logits is None):
            raise ValueError(f"{type(self).__name__} takes either {self.drive_name} or logits, and exactly one of them")
        self.drive = torch.as_tensor(drive) if logits is None else self.drive_of(torch.as_tensor(logits))
        if not self.drive.is_floating_point():
            self.drive = self.drive.to(torch.get_default_dtype())
        # not Bernoulli's own __init__, which would want probs or logits made from the drive at once
        Distribution.__init__(self, self.drive.shape, validate_args=validate_args)

    @staticmethod
    @abstractmethod
    def drive_of(logits: Tensor) -> Tensor:
        """Drive of a unit with these logits."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> DrivenBernoulli:
        """The same distribution with a larger batch shape; no parameter is written out."""
        new = self._get_checked_instance(type(self), _instance)
        new.drive = self.drive.expand(batch_shape)
        Distribution.__init__(new, Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Zeros and ones, ``[*sample_shape, *batch_shape]``, by one uniform number each.

        Several times faster than ``torch.bernoulli`` on a CPU, and a NaN drive gives 0 rather than an exception, so
        that one restart's failure does not end the others.
        """
        with torch.no_grad():
            probs = self.probs
            uniform = torch.rand(
                self._extended_shape(Size(sample_shape)),
                dtype=torch.promote_types(probs.dtype, torch.float32),
                device=probs.device,
            )
            return (uniform < probs).to(probs.dtype)

    def entropy(self) -> Tensor:
        """``-p log p - (1 - p) log (1 - p)``, in nats."""
        log_on, log_off = _log_probs(self)
        return -(log_on.exp() * log_on + log_off.exp() * log_off)

    @property
    def variance(self) -> Tensor:
        """``p (1 - p)``."""
        log_on, log_off = _log_probs(self)
        return torch.exp(log_on + log_off)

    @property
    def _param(self) -> Tensor:
        return self.drive

    @property
    def _natural_params(self) -> tuple[Tensor]:
        return (self.logits,)


class SigmoidBernoulli(DrivenBernoulli):
    """``p = 1 / (1 + exp(-logits))``: a sigmoid unit (Dayan et al. 1995, section 3.3).

    >>> SigmoidBernoulli(torch.tensor([0.0])).log_prob(torch.ones(1))
    tensor([-0.6931])
    """

    arg_constraints: ClassVar = {"drive": constraints.real}
    drive_name = "drive"

    @staticmethod
    def drive_of(logits: Tensor) -> Tensor:
        """The logits themselves."""
        return logits

    @property
    def logits(self) -> Tensor:
        """``log p - log (1 - p)``."""
        return self.drive

    @lazy_property
    def probs(self) -> Tensor:
        """``p``."""
        return torch.sigmoid(self.drive)

    def log_prob(self, value: Tensor) -> Tensor:
        """``log p`` of ones and ``log (1 - p)`` of zeros, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return logsigmoid((2 * value - 1) * self.drive)


class NoisyOrBernoulli(DrivenBernoulli):
    """``p = 1 - exp(-rate)``: a unit that any of its causes turns on by itself (Dayan et al. 1995, A.1).

    The rate is the sum over active causes of ``-log(1 - theta_k)``, ``theta_k`` being the probability that cause k alone
    turns the unit on. Rates are positive; log-probabilities, in nats, are finite from 1e-30 to 1e30 also in float32.

    >>> NoisyOrBernoulli(torch.tensor([0.5])).log_prob(torch.zeros(1))
    tensor([-0.5000])
    """

    arg_constraints: ClassVar = {"rate": constraints.positive}
    drive_name = "rate"

    def __init__(
        self, rate: Tensor | float | None = None, *, logits: Tensor | float | None = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(rate, logits=logits, validate_args=validate_args)

    @staticmethod
    def drive_of(logits: Tensor) -> Tensor:
        """``-log(1 - p)``."""
        return softplus(logits)

    @property
    def rate(self) -> Tensor:
        """``-log(1 - p)``."""
        return self.drive

    @lazy_property
    def logits(self) -> Tensor:
        """``log p - log (1 - p)``."""
        return self.rate + self._log_on

    @lazy_property
    def probs(self) -> Tensor:
        """``p``."""
        return -torch.expm1(-self.rate)

    @property
    def _log_on(self) -> Tensor:
        return torch.log(-torch.expm1(-self.rate))

    def log_prob(self, value: Tensor) -> Tensor:
        """``log(1 - exp(-rate))`` of ones and ``-rate`` of zeros, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return torch.where(value == 1, self._log_on, -self.rate)


class OddsBernoulli(DrivenBernoulli):
    """``p = odds / (1 + odds)``: a unit to whose odds each active cause adds (Dayan et al. 1995, A.2).

    Odds are positive; log-probabilities, in nats, are finite from 1e-30 to 1e30 also in float32.

    >>> OddsBernoulli(torch.tensor([3.0])).probs
    tensor([0.7500])
    """

    arg_constraints: ClassVar = {"odds": constraints.positive}
    drive_name = "odds"

    def __init__(
        self, odds: Tensor | float | None = None, *, logits: Tensor | float | None = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(odds, logits=logits, validate_args=validate_args)

    @staticmethod
    def drive_of(logits: Tensor) -> Tensor:
        """``p / (1 - p)``."""
        return torch.exp(logits)

    @property
    def odds(self) -> Tensor:
        """``p / (1 - p)``."""
        return self.drive

    @lazy_property
    def logits(self) -> Tensor:
        """``log p - log (1 - p)``."""
        return torch.log(self.odds)

    @lazy_property
    def probs(self) -> Tensor:
        """``p``."""
        return torch.sigmoid(self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        """``-log(1 + 1 / odds)`` of ones and ``-log(1 + odds)`` of zeros, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return logsigmoid((2 * value - 1) * self.logits)


def _log_probs(distribution: Bernoulli) -> tuple[Tensor, Tensor]:
    one = torch.ones((), dtype=distribution._param.dtype, device=distribution._param.device)
    return distribution.log_prob(one), distribution.log_prob(1 - one)


@register_kl(DrivenBernoulli, DrivenBernoulli)
@register_kl(DrivenBernoulli, Bernoulli)
@register_kl(Bernoulli, DrivenBernoulli)
def _kl(p: Bernoulli, q: Bernoulli) -> Tensor:
    # from log-probabilities: torch's own is infinite wherever q.probs rounds to 1
    (p_on, p_off), (q_on, q_off) = _log_probs(p), _log_probs(q)
    return p_on.exp() * (p_on - q_on) + p_off.exp() * (p_off - q_off)
