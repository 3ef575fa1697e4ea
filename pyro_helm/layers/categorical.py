"""The categorical imaging model: causes add to the logits of groups of units of which exactly one is on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_helm.layers.imaging import Imaging
from pyro_helm.layers.one_hot_groups import OneHotGroups
from pyro_helm.runtime.arguments import is_whole


class Categorical(Imaging):
    """``p(unit u of group g is on) = softmax over g of drive``, one-hot.

    Args:
        num_causes: as for :class:`Imaging`.
        num_units: likewise.
        groups: units in each group, which add up to all; one number if all groups are of that size.
        settings: as for :class:`Imaging`.

    Raises:
        ValueError: for groups of fewer than two units, or that do not add up.

    """

    def __init__(self, num_causes: int, num_units: int, *, groups: int | Sequence[int], **settings: Any) -> None:
        super().__init__(num_causes, num_units, **settings)
        self.groups = group_sizes(groups, num_units)

    @property
    def parts(self) -> tuple[int, ...]:
        """The groups."""
        return self.groups

    def distribution_of(self, drive: Tensor, units: slice, *others: Tensor) -> TorchDistribution:
        """Of the groups among some of the units, with logits ``drive[..., units]``."""
        first, last, _ = units.indices(self.num_units)
        ends = accumulate(self.groups)
        groups = [size for size, end in zip(self.groups, ends, strict=True) if first < end <= last]
        return OneHotGroups(drive, groups)

    def distribution(self, drive: Tensor) -> TorchDistribution:
        """One-hot groups with logits ``drive[..., units]``; the units are its event."""
        return OneHotGroups(drive, self.groups)


def group_sizes(groups: int | Sequence[int], num_units: int) -> tuple[int, ...]:
    """Units in each group; ValueError unless they are whole numbers of two or more that add up to the units."""
    sizes: Any = (groups,) * max(1, num_units // groups) if is_whole(groups) and groups > 1 else groups
    known = isinstance(sizes, Sequence) and all(is_whole(size) and size > 1 for size in sizes)
    if not known or sum(sizes) != num_units:
        raise ValueError(
            f"groups must be numbers of units, two or more in each, that add up to the {num_units} units of the layer; "
            f"got {groups!r}"
        )
    return tuple(map(int, sizes))
