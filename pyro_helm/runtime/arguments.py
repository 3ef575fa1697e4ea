"""Checks of the arguments that are numbers or flags, each refused in a sentence with its name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, TypeGuard


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number, NumPy's too, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def at_least_one(name: str, value: Any) -> int:
    """The whole number, as Python's.

    Raises:
        ValueError: for anything but a whole number of at least 1, with the name of the setting.

    """
    if not is_whole(value):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def checked_seed(seed: Any) -> int:
    """The seed, as Python's; ValueError for anything but a whole number that a generator takes."""
    if not is_whole(seed) or not 0 <= seed < 2**62:
        raise ValueError(f"seed must be from 0 to 2^62 - 1, got {seed!r}")
    return int(seed)


def number(name: str, value: Any) -> float:
    """The number, as Python's, also of a tensor or array of no dimension; TypeError for anything else."""
    found = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(found, bool) or not isinstance(found, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(found)


def positive(name: str, value: Any) -> float:
    """The number, as Python's; ValueError unless it is finite and above 0."""
    found = number(name, value)
    if not 0 < found < math.inf:
        raise ValueError(f"{name} must be positive, got {value}")
    return found


def not_negative(name: str, value: Any) -> float:
    """The number, as Python's; ValueError unless it is finite and not below 0."""
    found = number(name, value)
    if not 0 <= found < math.inf:
        raise ValueError(f"{name} must be finite and not below 0, got {value}")
    return found


def rising_to_one(name: str, values: Iterable[Any], *, of_each: str) -> list[float]:
    """The numbers, as Python's, which rise from 0 to 1.

    Args:
        name: of the setting.
        values: of it.
        of_each: what one of them is called.

    Raises:
        TypeError: for a value that is not a number.
        ValueError: unless each is above the last, the first 0 and the last 1.

    """
    points = [number(of_each, value) for value in values]
    if len(points) < 2 or points[0] != 0 or points[-1] != 1 or any(not low < high for low, high in pairwise(points)):
        raise ValueError(f"{name} must rise from 0 to 1, got {points}")
    return points


def flag(name: str, value: Any) -> bool:
    """The truth value; TypeError for anything else."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value
