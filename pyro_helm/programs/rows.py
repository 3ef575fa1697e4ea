"""Whose rows may be divided: a program may know more of a row than the row says.

A length, a mask or a label that a program is closed over belongs to the row in its place. So a program gets the
caller's rows, whole and in order, unless a row is known to be all there is: for the library's own machines, or with the
caller's leave.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from pyro_helm.programs.layered import structure_of

P = TypeVar("P")

Rows = Literal["together", "independent"]
"""How a program is to be shown its rows: all at once in their order, or some of them at a time in any order."""


def is_own(program: object) -> bool:
    """Whether a program is one of the library's machines itself; a subclass may do anything in its ``forward``."""
    return structure_of(program) is not None


def made_of(program: P, *parts: object) -> P:
    """The program, marked as one that knows of a row no more than its parts do."""
    program.made_of = parts  # type: ignore[attr-defined]
    return program


def may_be_divided(rows: Rows | None, *programs: object) -> bool:
    """Whether rows may be divided, reordered or left out where they repeat.

    Args:
        rows: what the caller allows; None for what is known of the programs.
        programs: those that are shown the rows; None for one that is not there.

    Raises:
        ValueError: for any other word.

    >>> may_be_divided(None, BeliefNetwork((3, 2))), may_be_divided(None, print), may_be_divided("independent", print)
    (True, False, True)
    """
    if rows not in (None, "together", "independent"):
        raise ValueError(f'rows must be "together", "independent" or None, got {rows!r}')
    return rows == "independent" if rows is not None else all(map(_knows_no_more, programs))


def _knows_no_more(program: Any) -> bool:
    if program is None or is_own(program):
        return True
    parts = getattr(program, "made_of", None)
    return parts is not None and all(map(_knows_no_more, parts))


def in_pieces(x: Tensor, rows_at_once: int, *, divided: bool) -> tuple[Tensor, ...]:
    """Data ``[..., data, units]`` in pieces of so many rows, or whole."""
    return x.split(rows_at_once, dim=-2) if divided else (x,)


def restarts_of(model: object) -> int:
    """Restarts that a program says it has; 1 where it says nothing."""
    restarts = getattr(model, "restarts", 1)
    return restarts if isinstance(restarts, int) and restarts > 0 else 1


def check_number(log_p: Tensor, num_rows: int, *, divided: bool) -> Tensor:
    """Log-probabilities ``[..., data]`` themselves; ValueError unless there is one for every row.

    A program without a data plate, which is a single datum, may have one for all rows where they are together.
    """
    number = log_p.shape[-1]
    if number == num_rows or (number == 1 and not divided):
        return log_p
    shown = f"{num_rows} of the rows at a time" if divided else f"{num_rows} rows"
    remedy = 'give rows="together"' if divided else "make the plate at dim=-1 as long as the data"
    raise ValueError(f"the program was shown {shown}, but has log-probabilities of {number} data; {remedy}")


def distinct(x: Tensor, *, divided: bool) -> tuple[Tensor, Tensor]:
    """Rows of ``x[data, units]`` of which none repeats, and each datum's place among them, ``[data]``.

    All rows where they can't be divided.
    """
    if not divided:
        return x, torch.arange(len(x), device=x.device)
    missing = x.isnan()
    if bool(missing.any()):
        # NaN is not equal to itself: rows are told apart by what is there and by where something is not
        told = torch.cat([x.nan_to_num(nan=0.0), missing.to(x)], dim=-1)
        told, place = torch.unique(told, dim=0, return_inverse=True)
        values, missing = told.chunk(2, dim=-1)
        return values.masked_fill(missing == 1, torch.nan), place
    rows, place = torch.unique(x, dim=0, return_inverse=True)
    return rows, place
