"""Bernoulli distributions parameterised by what drives a binary unit: a logit, a rate or odds.

The paper: Dayan, Hinton, Neal & Zemel, The Helmholtz Machine, Neural Computation 7, 889-904 (1995).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from pyro.distributions import Bernoulli, constraints
from torch import Size, Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, register_kl
from torch.distributions.utils import lazy_property
from torch.nn.functional import logsigmoid

from pyro_helm.layers.log_prob_of_drive import above_zero, log_prob_of_logits, log_prob_of_odds, log_prob_of_rate

__all__ = ["NoisyOrBernoulli", "OddsBernoulli", "SigmoidBernoulli"]


class DrivenBernoulli(Bernoulli):  # type: ignore[misc]
    """Abstract Bernoulli with one parameter per unit, its drive; subclasses say what the drive means.

    Batch shape is the drive's shape, event shape is empty; log-probabilities, entropy and KL are in nats.
    It is a Bernoulli to Pyro, which rebuilds one as ``type(d)(logits=...)`` when it computes marginals.

    Args:
        drive: tensor or number; for a subclass, the argument called ``drive_name``.
        logits: ``log p - log(1 - p)`` in its place; exactly one of the two.
        validate_args: whether to check the parameter and values; Pyro's setting if None.

    Raises:
        ValueError: if neither or both are given; with validation, for a drive out of its range, and in
            ``log_prob`` for a value other than 0 and 1.

    """

    drive_name: ClassVar[str]
    _given_logits: bool

    def __init__(
        self,
        drive: Tensor | float | None = None,
        *,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (drive is None) == (logits is None):
            given = "neither" if drive is None else "both"
            raise ValueError(f"{type(self).__name__} takes {self.drive_name} or logits, got {given}")
        parameter = torch.as_tensor(drive if logits is None else logits)
        if not parameter.is_floating_point():
            parameter = parameter.to(torch.get_default_dtype())
        self._given_logits = logits is not None
        if logits is not None:
            # kept as well: log p of improbable values is exact from logits where the drive has underflowed
            self.logits = parameter
            parameter = self.drive_of(parameter)
        setattr(self, self.drive_name, parameter)
        # not Bernoulli's own __init__, which would want probs or logits made from the drive at once
        Distribution.__init__(self, parameter.shape, validate_args=validate_args)

    @staticmethod
    @abstractmethod
    def drive_of(logits: Tensor) -> Tensor:
        """Drive ``[...]`` of units with these logits ``[...]``."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> DrivenBernoulli:
        """The same distribution with a larger batch shape; no parameter is written out."""
        if _instance is None and Size(batch_shape) == self._batch_shape:
            return self  # a plate expands every site in it, which mostly has its shape
        new: DrivenBernoulli = self._get_checked_instance(type(self), _instance)
        for name in {self.drive_name, "logits", "probs"} & self.__dict__.keys():
            setattr(new, name, self.__dict__[name].expand(batch_shape))
        new._given_logits = self._given_logits
        Distribution.__init__(new, Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Zeros and ones, ``[*sample_shape, *batch_shape]``, by one uniform number each.

        Several times faster than ``torch.bernoulli`` on a CPU, and a NaN drive gives 0 rather than an
        exception, so that one restart's failure does not end the others.
        """
        with torch.no_grad():
            probs = self.probs
            uniform = torch.rand(
                self._extended_shape(Size(sample_shape)),
                dtype=torch.promote_types(probs.dtype, torch.float32),
                device=probs.device,
            )
            # 1 where the probability is above the number: a comparison would take three times as long, since it
            # makes truth values first; and not in place, so that a captured step can leave out draws of no use
            return (probs - uniform).sign().relu().to(probs.dtype)

    @lazy_property
    def probs(self) -> Tensor:
        """``p``, ``[*batch]``."""
        return torch.sigmoid(self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        """``log p`` of ones and ``log(1 - p)`` of zeros, nats, ``[...]`` as value and batch shape broadcast."""
        if self._validate_args:
            self._validate_sample(value)
        return log_prob_of_logits(self.logits, value)

    def entropy(self) -> Tensor:
        """``-p log p - (1 - p) log(1 - p)``, in nats, ``[*batch]``."""
        log_on, log_off = _log_probs(self)
        return -(log_on.exp() * log_on + log_off.exp() * log_off)

    @property
    def variance(self) -> Tensor:
        """``p (1 - p)``, also where ``p`` rounds to 1, ``[*batch]``."""
        log_on, log_off = _log_probs(self)
        return torch.exp(log_on + log_off)

    @property
    def _param(self) -> Tensor:
        parameter: Tensor = getattr(self, self.drive_name)
        return parameter

    @property
    def _natural_params(self) -> tuple[Tensor]:
        return (self.logits,)

    def _log_normalizer(self, x: Tensor) -> Tensor:
        return -logsigmoid(-x)


class SigmoidBernoulli(DrivenBernoulli):
    """``p = 1 / (1 + exp(-logits))``: a sigmoid unit (the paper, equation 3.3).

    Arguments, shapes and errors are :class:`DrivenBernoulli`'s, the drive being ``logits``.

    Example:
        >>> SigmoidBernoulli(torch.tensor([0.0])).log_prob(torch.ones(1))
        tensor([-0.6931])

    """

    arg_constraints: ClassVar = {"logits": constraints.real}
    drive_name = "logits"

    def __init__(self, logits: Tensor | float, *, validate_args: bool | None = None) -> None:
        super().__init__(logits=logits, validate_args=validate_args)

    @staticmethod
    def drive_of(logits: Tensor) -> Tensor:
        """The logits themselves, ``[...]``."""
        return logits


class NoisyOrBernoulli(DrivenBernoulli):
    """Noisy-or unit, on with probability ``1 - exp(-rate)``.

    Any of its causes turns it on by itself (the paper, A.1).
    The rate is positive: the leak's plus, for every active cause, ``-log(1 - theta_k)``, ``theta_k`` being
    the probability that cause k alone turns the unit on. Arguments, shapes and errors are
    :class:`DrivenBernoulli`'s, the drive being ``rate``.

    Example:
        >>> unit = NoisyOrBernoulli(torch.tensor([0.5]))
        >>> unit.probs, unit.log_prob(torch.zeros(1))
        (tensor([0.3935]), tensor([-0.5000]))

    """

    arg_constraints: ClassVar = {"rate": constraints.positive}
    drive_name = "rate"

    def __init__(
        self,
        rate: Tensor | float | None = None,
        *,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(rate, logits=logits, validate_args=validate_args)

    @staticmethod
    def drive_of(logits: Tensor) -> Tensor:
        """``-log(1 - p)`` of each, ``[...]``."""
        return _normal(-logsigmoid(-logits))

    @lazy_property
    def logits(self) -> Tensor:
        """``log p - log(1 - p)``, ``[*batch]``."""
        rate = above_zero(self.rate)
        return rate + torch.log(-torch.expm1(-rate))

    @lazy_property
    def probs(self) -> Tensor:
        """``p``, ``[*batch]``."""
        return -torch.expm1(-self.rate)

    def log_prob(self, value: Tensor) -> Tensor:
        """``log(1 - exp(-rate))`` of ones, ``-rate`` of zeros, nats, ``[...]`` as value and batch shape broadcast."""
        if self._validate_args:
            self._validate_sample(value)
        if self._given_logits:
            return log_prob_of_logits(self.logits, value)
        return log_prob_of_rate(self.rate, value)


class OddsBernoulli(DrivenBernoulli):
    """Odds unit, on with probability ``odds / (1 + odds)``.

    Each active cause adds to its odds (the paper, A.2).
    The odds are positive. Arguments, shapes and errors are :class:`DrivenBernoulli`'s, the drive being
    ``odds``.

    Example:
        >>> unit = OddsBernoulli(torch.tensor([3.0]))
        >>> unit.probs, unit.log_prob(torch.zeros(1))
        (tensor([0.7500]), tensor([-1.3863]))

    """

    arg_constraints: ClassVar = {"odds": constraints.positive}
    drive_name = "odds"

    def __init__(
        self,
        odds: Tensor | float | None = None,
        *,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(odds, logits=logits, validate_args=validate_args)

    @staticmethod
    def drive_of(logits: Tensor) -> Tensor:
        """``p / (1 - p)`` of each, ``[...]``."""
        return _normal(torch.exp(logits))

    @lazy_property
    def logits(self) -> Tensor:
        """``log p - log(1 - p)``, ``[*batch]``."""
        return torch.log(above_zero(self.odds))

    def log_prob(self, value: Tensor) -> Tensor:
        """``-log(1 + 1 / odds)`` of ones, ``-log(1 + odds)`` of zeros, nats, ``[...]`` as value and batch broadcast."""
        if self._validate_args:
            self._validate_sample(value)
        if self._given_logits:
            return log_prob_of_logits(self.logits, value)
        return log_prob_of_odds(self.odds, value)


def _normal(drive: Tensor) -> Tensor:
    # extreme logits must give a valid drive; the distribution keeps the logits, so that no gradient is lost
    limits = torch.finfo(drive.dtype)
    return drive.clamp(limits.tiny, limits.max)


def _log_probs(distribution: TorchBernoulli) -> tuple[Tensor, Tensor]:
    one = torch.ones((), dtype=distribution._param.dtype, device=distribution._param.device)
    return distribution.log_prob(one), distribution.log_prob(1 - one)


@register_kl(DrivenBernoulli, DrivenBernoulli)  # type: ignore[untyped-decorator]
@register_kl(DrivenBernoulli, TorchBernoulli)  # type: ignore[untyped-decorator]
@register_kl(TorchBernoulli, DrivenBernoulli)  # type: ignore[untyped-decorator]
def _kl(p: TorchBernoulli, q: TorchBernoulli) -> Tensor:
    # from log-probabilities: torch's own is infinite wherever q.probs rounds to 1
    (p_on, p_off), (q_on, q_off) = _log_probs(p), _log_probs(q)
    return p_on.exp() * (p_on - q_on) + p_off.exp() * (p_off - q_off)
