"""Units per layer as a line of text."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_DIGITS = 19  # a larger number is none that torch takes


def read_sizes(text: str) -> tuple[int, ...]:
    """Units per layer of a line; empty if it is none.

    >>> read_sizes("32-24-2"), read_sizes("32-0"), read_sizes("32x24")
    ((32, 24, 2), (), ())
    """
    words = text.split("-")
    sizes = tuple(int(word) for word in words if word.isdecimal() and len(word) <= _MOST_DIGITS)
    return sizes if len(sizes) == len(words) and 0 not in sizes else ()


def with_width(sizes: Sequence[int], width: int) -> tuple[int, ...]:
    """Units of all layers, for data of so many units.

    Numbers are hidden layers, unless there are several and the first is the width of the data.

    >>> with_width((24, 2), 32), with_width((32, 24, 2), 32), with_width((24, 2), 64)
    ((32, 24, 2), (32, 24, 2), (64, 24, 2))
    """
    return tuple(sizes) if sizes[0] == width and len(sizes) > 1 else (width, *sizes)
