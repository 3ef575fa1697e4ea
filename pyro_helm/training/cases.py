"""Cases to train or validate on, and what each counts for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from pyro_helm.data.sets import PatternDistribution
from pyro_helm.runtime.device import Placement
from pyro_helm.training.checks import check_distribution


class Cases(NamedTuple):
    """Data, each a row.

    Attributes:
        values: zeros and ones, ``[data, units]``.
        weights: what each counts for, 1 on average, ``[data]``; None where they all count alike.

    """

    values: Tensor
    weights: Tensor | None

    def to(self, place: Placement) -> Cases:
        """The same cases on a device and in a floating-point type."""
        return Cases(self.values.to(**place), None if self.weights is None else self.weights.to(**place))

    def order(self, size: int) -> Tensor:
        """Rows shuffled for minibatches of this size; where all make one, they are in the caller's order."""
        number = len(self.values)
        order = torch.randperm if size < number else torch.arange
        return order(number, device=self.values.device)

    def sizes(self, size: int) -> list[int]:
        """How many rows the minibatches have, the last of which may be smaller."""
        number = len(self.values)
        return [min(size, number - start) for start in range(0, number, size)]

    def weighted(self, rows: Tensor) -> AbstractContextManager[Any]:
        """While programs run on these rows, each counts for its weight."""
        return nullcontext() if self.weights is None else poutine.scale(scale=self.weights[rows])


def cases_of(name: str, data: Tensor | PatternDistribution) -> Cases:
    """The cases of data ``[data, units]``, or the patterns of a distribution weighted by their probabilities.

    Args:
        name: of the argument, for errors.
        data: what was given.

    """
    if not isinstance(data, PatternDistribution):
        return Cases(data, None)
    check_distribution(name, data)
    return Cases(data.patterns, data.probabilities * len(data.probabilities))
