"""Missing values: NaN in observed units, whose factors are left out, and which a recognition layer sees as missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from pyro.nn import PyroParam
from torch import Tensor

from pyro_helm.layers.categorical import Categorical
from pyro_helm.layers.imaging import Imaging
from pyro_helm.layers.sigmoid import Sigmoid
from pyro_helm.layers.unobserved import leaving_out
from pyro_helm.runtime.captured_graphs import is_capturing

IN_PLACE = 0.5
"""What stands for a missing unit, midway between the two values that it may have."""

_KNOWN: ContextVar[bool | None] = ContextVar("_KNOWN", default=None)


@contextmanager
def known_missing(missing: bool | None) -> Iterator[None]:
    """While it is known whether any of the data are missing, so that no values need be looked at; None for unknown."""
    token = _KNOWN.set(missing)
    try:
        yield
    finally:
        _KNOWN.reset(token)


def has_missing(values: Tensor) -> bool:
    """Whether some values may be NaN; always where values can't be looked at.

    >>> has_missing(torch.tensor([1.0, torch.nan])), has_missing(torch.tensor([1, 0]))
    (True, False)
    """
    known = _KNOWN.get()
    if not values.is_floating_point() or known is False:
        return False
    return known is True or is_capturing() or bool(values.isnan().any())


def without_missing(layer: TorchDistribution, values: Tensor) -> tuple[TorchDistribution, Tensor]:
    """A layer whose log-probability leaves missing units out, and values of it with 0 in their place.

    What is left out is exact: the units of a layer are independent given the one above, so that the sum over a unit
    that is missing is 1. Of a group of a categorical layer the sum is over the units that may be on, given those that
    are known. No gradient sees the NaN.

    Args:
        layer: distribution with the units as its event.
        values: ``[..., data, units]``, NaN where missing.

    >>> from pyro.distributions import Bernoulli
    >>> layer = Bernoulli(torch.tensor([0.5, 0.9])).to_event(1)
    >>> layer, x = without_missing(layer, torch.tensor([1.0, torch.nan]))
    >>> layer.log_prob(x)
    tensor(-0.6931)
    """
    observed = ~values.isnan()
    return leaving_out(layer, observed), torch.where(observed, values, 0.0)


class SeesMissing(Imaging):
    r"""A layer of a recognition network, some of whose causes may be missing.

    ``drive = sum_i phi_ij x_i + b_j``, in which a missing cause counts ``phi_ij / 2 + psi_ij``: the value midway
    between 0 and 1, and the weight of an indicator that it is missing. Complete causes give the numbers of the layer
    that it is beside.

    Args:
        num_causes: as for :class:`Imaging`.
        num_units: likewise.
        missing: whether the indicators have weights ``psi``, which begin at 0.
        settings: likewise.

    """

    def __init__(self, num_causes: int, num_units: int, *, missing: bool = False, **settings: Any) -> None:
        super().__init__(num_causes, num_units, **settings)
        self.learns_missing = False
        if missing:
            self.learn_missing()

    def learn_missing(self) -> None:
        """Give the indicators weights, if they have none yet."""
        if not self.learns_missing:
            self.missing_weight = PyroParam(torch.zeros_like(self.weight.detach()), constraints.real)
            self.learns_missing = True

    def drive(self, causes: Tensor | None = None) -> Tensor:
        """As :meth:`Imaging.drive`, of causes ``[..., causes]`` that are NaN where missing."""
        return self._seen(causes, super().drive, self._missing_weight)

    def driven(self) -> Callable[[Tensor | None], Tensor]:
        """As :meth:`Imaging.driven`, of causes ``[..., causes]`` that are NaN where missing."""
        drive, missing_weight = super().driven(), self._missing_weight
        return lambda causes: self._seen(causes, drive, missing_weight)

    @property
    def _missing_weight(self) -> Tensor | None:
        return self.missing_weight if self.learns_missing else None

    @staticmethod
    def _seen(causes: Tensor | None, drive: Callable[[Tensor], Tensor], missing_weight: Tensor | None) -> Tensor:
        assert causes is not None
        if not has_missing(causes):
            return drive(causes)
        missing = causes.isnan()
        seen = drive(torch.where(missing, IN_PLACE, causes))
        if missing_weight is None:
            return seen
        weight = missing_weight.squeeze(0) if len(missing_weight) == 1 else missing_weight
        return seen + missing.to(seen) @ weight


class PartlySeen(SeesMissing, Sigmoid):
    """A sigmoid layer some of whose causes may be missing."""


class PartlySeenGroups(SeesMissing, Categorical):
    """A categorical layer some of whose causes may be missing."""
