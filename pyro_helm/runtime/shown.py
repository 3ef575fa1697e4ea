"""How results show themselves: a few lines of at most 80 columns, and a table of HTML in a notebook."""

from __future__ import annotations

import re
import textwrap
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

WIDTH = 80
ROWS = 10
"""Rows of a table that are shown; the title or a note says which."""

_CELL = 28  # columns of a text in a table, at most


@dataclass(frozen=True)
class Card:
    """What is shown of a result.

    Attributes:
        title: one sentence: what it is and in which units.
        facts: further lines.
        table: few rows and columns, most telling first; None for none.
        notes: what must not be overlooked, such as warnings, below the table.

    """

    title: str
    facts: Sequence[str] = ()
    table: pd.DataFrame | None = None
    notes: Sequence[str] = ()


class Shown:
    """A result that prints as its :class:`Card`, and shows it as HTML in a notebook."""

    @abstractmethod
    def _card(self) -> Card:
        """What is shown of it."""

    def _picture(self) -> str:
        """A small picture as SVG, for notebooks; empty for none."""
        return ""

    def __repr__(self) -> str:
        return as_text(self._card())

    def _repr_html_(self) -> str:
        return as_html(self._card(), self._picture())


def as_text(card: Card) -> str:
    """The card in ASCII lines of at most 80 columns, if its names are ASCII.

    >>> print(as_text(Card("Scores, in nats", table=pd.DataFrame({"restart": [0], "mean": [-1.23456]}))))
    Scores, in nats
      restart   mean
            0 -1.235
    """
    lines = wrapped(card.title) + [line for fact in card.facts for line in wrapped(fact, "  ")]
    if card.table is not None and len(card.table):
        lines += _table_lines(card.table)
    lines += [line for note in card.notes for line in wrapped(note, "! ")]
    return "\n".join(lines)


def as_html(card: Card, picture: str = "") -> str:
    """The card and a picture as HTML; every text of the card is escaped."""
    parts = [f"<p><b>{escape(card.title)}</b>", *(f"<br>{escape(fact)}" for fact in card.facts), "</p>"]
    if card.table is not None and len(card.table):
        shown = _cells(card.table).head(ROWS)
        parts.append(shown.to_html(index=False, border=0, escape=True))
        if len(card.table) > ROWS:
            parts.append(f"<p>{_more(card.table)}</p>")
    parts += [f"<p>&#9888; {escape(note)}</p>" for note in card.notes]
    return f"<div>{''.join(parts)}{picture}</div>"


def grouped_warnings(warnings: Iterable[tuple[object, str]], *, what: str = "restart", most: int = 3) -> list[str]:
    """Warnings as notes, at most so many; of those that differ in their numbers alone the first.

    >>> grouped_warnings([(0, "10 of 20 data are bad"), (1, ""), (2, "11 of 20 data are bad")])
    ['restart 0: 10 of 20 data are bad (likewise restart 2)']
    """
    alike: dict[str, list[tuple[object, str]]] = {}
    for label, warning in warnings:
        if warning:
            alike.setdefault(re.sub(r"[\d.-]+", "#", warning), []).append((label, warning))
    notes = []
    for (label, warning), *others in alike.values():
        labels = [other for other, _ in others]
        also = f" (likewise {what}{'s' * (len(labels) > 1)} {listed(labels)})" if labels else ""
        notes.append(f"{what} {label}: {warning}{also}")
    rest = len(notes[most:])
    return notes[:most] + [f"and {rest} more warnings, in the frame `summary`"] * (rest > 0)


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "restart"), counted(8, "restart")
    ('1 restart', '8 restarts')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def listed(names: Sequence[object], most: int = 8) -> str:
    """The names, separated by commas, or the first of them and how many more there are."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of at most 80 columns, all but the first indented by two more."""
    text = text.replace("±", "+/-")  # which every terminal can print
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent) + "  " * (not indent))


def shortened(text: str, width: int = _CELL) -> str:
    """The text on one line, its middle left out where it is longer than the width."""
    line = " ".join(text.split())
    kept = width - 3
    return line if len(line) <= width else f"{line[: kept - kept // 2]}...{line[len(line) - kept // 2 :]}"


def _table_lines(table: pd.DataFrame) -> list[str]:
    """Lines of a table; the last columns are left out where there is no room, and named below."""
    cells = _cells(table.head(ROWS))
    names = list(cells.columns)
    sides = ["left" if table[name].map(lambda value: isinstance(value, str)).any() else "right" for name in table]
    widths = [max(len(name), *map(len, cells[name])) for name in names]
    while len(names) > 1 and sum(widths[: len(names)]) + len(names) + 1 > WIDTH:
        names.pop()
    rows = [names, *cells[names].to_numpy().tolist()]
    lines = [
        "  " + " ".join(_aligned(*cell) for cell in zip(row, widths, sides, strict=False)).rstrip() for row in rows
    ]
    left_out = list(cells.columns)[len(names) :]
    if left_out:
        lines += wrapped(f"not shown: {listed(left_out)}", "  ")
    return lines + ([f"  {_more(table)}"] if len(table) > ROWS else [])


def _more(table: pd.DataFrame) -> str:
    return f"... and {len(table) - ROWS} more rows"


def _aligned(text: str, width: int, side: str) -> str:
    return text.ljust(width) if side == "left" else text.rjust(width)


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table as short texts."""
    shown = pd.DataFrame({shortened(str(name)): [_cell(value) for value in table[name]] for name in table})
    return shown.astype(object)


def _cell(value: object) -> str:
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return in_digits(float(value))
    return "" if value is None or value is pd.NA else shortened(str(value))


def as_given(setting: object) -> str:
    """A setting as it was given, whatever a table's column has made of it.

    >>> as_given(50.0), as_given(float("nan")), as_given("cosine")
    ('50', 'none', 'cosine')
    """
    if pd.isna(setting):  # type: ignore[call-overload]
        return "none"
    return f"{setting:g}" if isinstance(setting, (float, np.floating)) else str(setting)


def in_digits(value: float) -> str:
    """A number to three digits after the point, or in powers of ten where that would say little.

    >>> in_digits(-7.12345), in_digits(0.0), in_digits(1.5e-7), in_digits(-1e12), in_digits(float("nan"))
    ('-7.123', '0.000', '1.5e-07', '-1e+12', 'nan')
    """
    small = value != 0 and abs(value) < 0.0005
    return f"{value:.3g}" if small or abs(value) >= 1e7 else f"{value:.3f}"
