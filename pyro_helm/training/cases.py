"""Cases to train or validate on, and what each counts for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from pyro_helm.data.named_observations import DataLike, main_name, observed_data
from pyro_helm.data.patterns import PatternDistribution
from pyro_helm.layers.missing import known_missing
from pyro_helm.runtime.device import Placement
from pyro_helm.training.checks import check_can_observe, check_distribution


class Cases(NamedTuple):
    """Data, each a row.

    Attributes:
        values: what is observed, ``[data, units]``; of several observations ``x``, or the first.
        weights: what each counts for, 1 on average, ``[data]``; None where they all count alike.
        missing: whether some values are missing (NaN).
        name: of the observation that ``values`` are.
        others: observations that go with it, labels say, by name, each with the data in front.

    """

    values: Tensor
    weights: Tensor | None
    missing: bool = False
    name: str = "x"
    others: Mapping[str, Tensor] = MappingProxyType({})

    def to(self, place: Placement) -> Cases:
        """The same cases on a device and in a floating-point type; whole numbers beside the values stay whole."""
        weights = None if self.weights is None else self.weights.to(**place)
        others = {
            name: value.to(**(place if _is_real(value) else {"device": place["device"]}))
            for name, value in self.others.items()
        }
        return self._replace(values=self.values.to(**place), weights=weights, others=others)

    @property
    def number(self) -> int:
        """Of the data."""
        return len(self.values)

    @property
    def observations(self) -> dict[str, Tensor]:
        """All that is observed, ``[data, ...]``, by name."""
        return {self.name: self.values, **self.others}

    def of(self, rows: Tensor | slice) -> dict[str, Tensor]:
        """What is observed of some rows, ``[rows, ...]``, by name."""
        return {name: value[rows] for name, value in self.observations.items()}

    def order(self, size: int) -> Tensor:
        """Rows ``[data]`` shuffled for minibatches of this size; where all make one, they are in the caller's order."""
        order = torch.randperm if size < self.number else torch.arange
        return order(self.number, device=self.values.device)

    def sizes(self, size: int) -> list[int]:
        """How many rows the minibatches have, the last of which may be smaller."""
        return [min(size, self.number - start) for start in range(0, self.number, size)]

    @contextmanager
    def weighted(self, rows: Tensor) -> Iterator[None]:
        """While programs run on rows ``[rows]``, each counts for its weight, and missing values are known."""
        weighted = nullcontext() if self.weights is None else poutine.scale(scale=self.weights[rows])
        with known_missing(self.missing), weighted:
            yield


def _is_real(value: Tensor) -> bool:
    return value.is_floating_point() or value.dtype == torch.bool


def cases_of(name: str, data: DataLike) -> Cases:
    """The cases of data, or the patterns of a distribution weighted by their probabilities.

    Args:
        name: of the argument, for errors.
        data: what was given.

    """
    weights = None
    if isinstance(data, PatternDistribution):
        check_distribution(name, data)
        weights = data.probabilities * len(data.probabilities)
    observations, _ = observed_data(data, name=name)
    main = main_name(observations)
    return Cases(observations.pop(main), weights, name=main, others=observations)


def checked_cases(
    name: str, data: DataLike, model: Any, guide: Any, batch_size: int | None, *, is_part: bool = False
) -> Cases:
    """The cases, if the model can observe them; a recognition network that can learns to see which values are missing.

    Args:
        name: of the argument, for errors.
        data: what was given.
        model: generative model.
        guide: its guide, or None.
        batch_size: rows of a minibatch; None for all.
        is_part: whether there are more rows than these, of which some more may be known.

    """
    cases = cases_of(name, data)
    check_can_observe(model, cases.observations, name, batch_size, is_part=is_part)
    missing = any(bool(value.isnan().any()) for value in cases.observations.values())
    if bool(cases.values.isnan().any()) and hasattr(guide, "learn_missing"):
        guide.learn_missing()
    return cases._replace(missing=missing)
