"""Which values the elements of a distribution can have, and whether two distributions have the same ones."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from pyro.distributions import Delta, TransformedDistribution, constraints
from torch import Tensor
from torch.distributions import AffineTransform, Bernoulli, Poisson

from pyro_helm.layers.one_hot_groups import OneHotGroups
from pyro_helm.programs.discrete import elementwise, num_values, single_units
from pyro_helm.runtime.captured_graphs import is_capturing


class _Values(NamedTuple):
    """Values of single elements; for numbers, from where to where."""

    is_discrete: bool
    kind: type | None
    """Numbers, or another set such as a simplex; None where it is not known."""
    low: float | Tensor = -math.inf
    high: float | Tensor = math.inf


_NUMBERS = tuple(
    {
        type(constraint)
        for constraint in (
            constraints.real,
            constraints.positive,
            constraints.nonnegative,
            constraints.less_than(0),
            constraints.interval(0, 1),
            constraints.half_open_interval(0, 1),
            constraints.positive_integer,
            constraints.nonnegative_integer,
            constraints.integer_interval(0, 1),
        )
    }
)


def same_values(one: Any, other: Any) -> bool:
    """Whether two distributions have the same values, up to the ends of an interval; True where that is not known.

    A Delta, whose single value may be of any distribution, is like all.

    >>> from pyro.distributions import Bernoulli, Normal, RelaxedBernoulli
    >>> half = torch.tensor(0.5)
    >>> same_values(Bernoulli(half), RelaxedBernoulli(half, probs=half)), same_values(Bernoulli(half), Bernoulli(half))
    (False, True)
    """
    one, other = elementwise(one), elementwise(other)
    if type(one) is type(other) and type(one).support is Bernoulli.support:
        return True  # without a look at their parameters, since every step asks
    if isinstance(one, Delta) or isinstance(other, Delta):
        return True
    one, other = single_units(one), single_units(other)
    if isinstance(one, OneHotGroups) or isinstance(other, OneHotGroups):
        return getattr(one, "groups", None) == getattr(other, "groups", None)
    counts = num_values(one), num_values(other)
    if None not in counts:  # those of a Bernoulli are floating-point numbers, of a Categorical integers
        return counts[0] == counts[1] and isinstance(one, Bernoulli) == isinstance(other, Bernoulli)
    ours, theirs = _values(one), _values(other)
    if ours is None or theirs is None:
        return True
    if ours.is_discrete != theirs.is_discrete:
        return False
    if ours.kind is None or theirs.kind is None:
        return True
    alike = issubclass(ours.kind, theirs.kind) or issubclass(theirs.kind, ours.kind)
    return alike and _equal(ours.low, theirs.low) and _equal(ours.high, theirs.high)


def is_discrete(fn: Any) -> bool | None:
    """Whether a distribution has probabilities rather than densities; None where it does not say."""
    values = _values(elementwise(fn))
    return None if values is None else values.is_discrete


def described(fn: Any) -> str:
    """A distribution with its values, for a sentence."""
    fn = elementwise(fn)
    count = num_values(fn)
    return f"{type(fn).__name__} " + (f"on {fn.support}" if count is None else f"of {count} values")


def values_in_words(fn: Any) -> str | None:
    """The values of the most common observations, for a sentence; None for others."""
    single = elementwise(fn)
    if isinstance(single, OneHotGroups):
        return str(single.support)
    if isinstance(single, Bernoulli):
        return "0 or 1"
    return "a whole number from 0" if isinstance(single, Poisson) else None


def _values(fn: Any) -> _Values | None:
    try:
        support = fn.support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        discrete = bool(support.is_discrete)
    except (NotImplementedError, AttributeError):
        return None
    if isinstance(fn, TransformedDistribution) and isinstance(fn.transforms[-1], AffineTransform):
        return _Values(discrete, None)  # which torch calls all real numbers, whatever is moved and scaled
    if isinstance(support, type(constraints.boolean)):
        return _Values(discrete, _Values, 0, 1)
    if isinstance(support, _NUMBERS):
        low, high = (
            getattr(support, f"{side}_bound", end) for side, end in (("lower", -math.inf), ("upper", math.inf))
        )
        return _Values(discrete, _Values, low, high)
    return _Values(discrete, None if constraints.is_dependent(support) else type(support))


def _equal(one: float | Tensor, other: float | Tensor) -> bool:
    if not (isinstance(one, Tensor) or isinstance(other, Tensor)):
        return one == other
    # in a captured step no value is known, and those of the step before it have been compared
    return is_capturing() or bool((torch.as_tensor(one) == torch.as_tensor(other)).all())
