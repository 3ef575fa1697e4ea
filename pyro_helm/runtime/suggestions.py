"""What to say of a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, which one may be meant, and which there are.

    >>> unknown("scheme", "vimc", ["vimco", "nvil"])
    "unknown scheme 'vimc'; did you mean vimco? Known are vimco, nvil"
    """
    known = list(known)
    close = get_close_matches(name.lower().replace("-", "_"), known, n=1)
    shown = repr(name if len(name) <= 60 else f"{name[:60]}...")
    listed = f"nown are {', '.join(known)}"
    return f"unknown {what} {shown}; " + (f"did you mean {close[0]}? K{listed}" if close else f"k{listed}")
