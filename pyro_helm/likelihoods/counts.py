"""Settings that count something: samples, chains, dreams, steps, terms."""

from __future__ import annotations

from numbers import Integral
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
