"""Groups of units of which exactly one is on: several categorical variables, one-hot, side by side in a vector."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Size, Tensor
from torch.distributions.utils import lazy_property


class OneOfEach(constraints.Constraint):  # type: ignore[misc]
    """Zeros and ones with exactly a single one in each group of units, or in each of those that are observed."""

    is_discrete = True
    event_dim = 1

    def __init__(self, groups: Sequence[int], observed: Tensor | None = None) -> None:
        self.groups = tuple(groups)
        self.observed = observed

    def __str__(self) -> str:
        return "exactly one 1 in each group of units"

    def check(self, value: Tensor) -> Tensor:
        """Whether the vector is in it, ``[...]`` of ``[..., units]``."""
        ones = torch.stack([group.sum(-1) for group in value.split(self.groups, -1)], -1)
        if self.observed is not None:
            seen = torch.stack([group.all(-1) for group in self.observed.split(self.groups, -1)], -1)
            ones = torch.where(seen | (ones > 1), ones, 1)
        inside: Tensor = ((value == 0) | (value == 1)).all(-1) & (ones == 1).all(-1)
        return inside


class OneHotGroups(TorchDistribution):  # type: ignore[misc]
    """``p(x) = product over groups g of softmax(logits of g) at the unit that is on``.

    Batch shape is that of the logits without their last dimension, event shape ``[units]``.

    Args:
        logits: ``[..., units]``, up to a constant for each group.
        groups: number of units in each group.
        observed: ``[..., units]``, which units are observed; None for all. Of a group of which some are, what counts is
            the probability of what is observed of it.
        validate_args: whether to check values; Pyro's setting if None.

    Raises:
        ValueError: for groups that do not add up to the units.

    >>> OneHotGroups(torch.zeros(5), (2, 3)).log_prob(torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0]))
    tensor(-1.7918)
    """

    arg_constraints: ClassVar = {"logits": constraints.real_vector}

    def __init__(
        self,
        logits: Tensor,
        groups: Sequence[int],
        *,
        observed: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.groups = tuple(groups)
        self.observed = observed
        if sum(self.groups) != logits.shape[-1]:
            raise ValueError(f"groups of {self.groups} units make {sum(self.groups)}, but there are {logits.shape[-1]}")
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @property
    def support(self) -> OneOfEach:
        """One unit on in each group."""
        return OneOfEach(self.groups, self.observed)

    def expand(self, batch_shape: Any, _instance: Any = None) -> OneHotGroups:
        """The same distribution with a larger batch shape; no parameter is written out."""
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        return OneHotGroups(logits, self.groups, observed=self.observed, validate_args=False)

    @lazy_property
    def log_probs(self) -> Tensor:
        """Log-probability that each unit is the one that is on, ``[..., units]``."""
        return self._flat(self._grouped().log_softmax(-1))

    @property
    def mean(self) -> Tensor:
        """Probability that each unit is the one that is on, ``[..., units]``."""
        return self.log_probs.exp()

    @property
    def variance(self) -> Tensor:
        """Of each unit by itself, ``[..., units]``."""
        mean = self.mean
        return mean * (1 - mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats, ``[...]``."""
        if self._validate_args:
            self._validate_sample(value)
        if self.observed is None:
            log_prob: Tensor = (value * self.log_probs).sum(-1)
            return log_prob
        possible = self.log_probs.masked_fill(~self._possible(value), -torch.inf)
        return self._in_groups(possible, -torch.inf).logsumexp(-1).sum(-1)

    def leaving_out(self, observed: Tensor) -> OneHotGroups:
        """The distribution of the units that are observed, ``[..., units]``, summed over what the others may be."""
        return OneHotGroups(self.logits, self.groups, observed=observed, validate_args=False)

    def given(self, value: Tensor) -> OneHotGroups:
        """The distribution of all units given those of a value that are observed, ``[..., units]``."""
        logits = torch.where(self._possible(value), self.logits, -torch.inf)
        return OneHotGroups(logits, self.groups, validate_args=False)

    def _possible(self, value: Tensor) -> Tensor:
        """Which units may be on: one that is observed to be, or of a group without such a one any unobserved."""
        on = value == 1
        if self.observed is None:
            return on
        on = on & self.observed
        is_known = self._in_groups(on, False).any(-1, keepdim=True)
        width = max(self.groups)
        return on | ~(self.observed | self._flat(is_known.expand(*is_known.shape[:-1], width)))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Zeros and ones, ``[*sample_shape, *batch_shape, units]``, one on in each group."""
        with torch.no_grad():
            grouped = self._grouped().expand(*Size(sample_shape), *self.batch_shape, *self._grouped().shape[-2:])
            # the largest sum of a logit and Gumbel noise is a draw; NaN gives some unit rather than an exception
            noise = -torch.empty_like(grouped).exponential_().log()
            unit = (grouped + noise).argmax(-1, keepdim=True)
            on = unit == torch.arange(grouped.shape[-1], device=unit.device)  # one_hot would look at the values
            drawn: Tensor = self._flat(on).to(self.logits.dtype)
            return drawn

    def _grouped(self) -> Tensor:
        """Logits ``[..., groups, largest group]``, minus infinity where a smaller group has none."""
        return self._in_groups(self.logits, -torch.inf)

    def _in_groups(self, flat: Tensor, filler: float) -> Tensor:
        """Values of units ``[..., units]`` as ``[..., groups, largest group]``."""
        if len(set(self.groups)) == 1:
            return flat.reshape(*flat.shape[:-1], len(self.groups), self.groups[0])
        filled = torch.cat([flat, flat.new_full((*flat.shape[:-1], 1), filler)], -1)
        return filled[..., _places(self.groups, flat.device)[0]]

    def _flat(self, grouped: Tensor) -> Tensor:
        flat: Tensor = grouped.flatten(-2)
        return flat if len(set(self.groups)) == 1 else flat[..., _places(self.groups, flat.device)[1]]


@lru_cache(maxsize=64)
def _places(groups: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The unit at each place of the padded groups, and the place of each unit."""
    total, largest, place = sum(groups), max(groups), []
    padded = torch.full((len(groups), largest), total)
    for group, units in enumerate(torch.arange(total).split(groups)):
        padded[group, : len(units)] = units
        place.append(group * largest + torch.arange(len(units)))
    return padded.to(device), torch.cat(place).to(device)
