"""Cases to train or validate on, and what each counts for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from pyro_helm.data.sets import PatternDistribution
from pyro_helm.layers.missing import known_missing
from pyro_helm.runtime.device import Placement
from pyro_helm.training.checks import check_distribution


class Cases(NamedTuple):
    """Data, each a row.

    Attributes:
        values: zeros and ones, ``[data, units]``.
        weights: what each counts for, 1 on average, ``[data]``; None where they all count alike.
        missing: whether some values are missing (NaN).

    """

    values: Tensor
    weights: Tensor | None
    missing: bool = False

    def to(self, place: Placement) -> Cases:
        """The same cases on a device and in a floating-point type."""
        weights = None if self.weights is None else self.weights.to(**place)
        return self._replace(values=self.values.to(**place), weights=weights)

    def order(self, size: int) -> Tensor:
        """Rows shuffled for minibatches of this size; where all make one, they are in the caller's order."""
        number = len(self.values)
        order = torch.randperm if size < number else torch.arange
        return order(number, device=self.values.device)

    @contextmanager
    def weighted(self, rows: Tensor) -> Iterator[None]:
        """While programs run on these rows, each counts for its weight, and need not be asked for missing values."""
        weighted = nullcontext() if self.weights is None else poutine.scale(scale=self.weights[rows])
        with known_missing(self.missing), weighted:
            yield


def cases_of(name: str, data: Tensor | PatternDistribution) -> Cases:
    """The cases of data ``[data, units]``, or the patterns of a distribution weighted by their probabilities.

    Args:
        name: of the argument, for errors.
        data: what was given.

    """
    if isinstance(data, PatternDistribution):
        check_distribution(name, data)
        values, weights = data.patterns, data.probabilities * len(data.probabilities)
    else:
        values, weights = data, None
    return Cases(values, weights)


def with_missing(cases: Cases, guide: Any) -> Cases:
    """The cases with what is known of missing values, which a recognition network that can learns to see if any are."""
    missing = bool(cases.values.isnan().any())
    if missing and hasattr(guide, "learn_missing"):
        guide.learn_missing()
    return cases._replace(missing=missing)
