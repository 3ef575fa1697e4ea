"""Frames as tables of a page that can be sorted: each cell as it is shown, and as it is sorted by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from pyro_helm.runtime.shown import in_digits

LONG = 40
"""Characters from which on a text may be broken into lines."""


class Column(NamedTuple):
    """A heading, what it means, and whether its cells are numbers."""

    heading: str
    about: str
    is_number: bool


class Cell(NamedTuple):
    """What is shown, what it is sorted by (empty for what is missing), and its class in the page."""

    text: str
    value: str
    kind: str


class Row(NamedTuple):
    """Cells, and whether the row stands out."""

    cells: list[Cell]
    leads: bool


class PageTable(NamedTuple):
    """Columns and rows."""

    columns: list[Column]
    rows: list[Row]


def page_table(
    frame: pd.DataFrame,
    headings: Mapping[str, tuple[str, str]] | None = None,
    *,
    settings: Collection[str] = (),
    leads: pd.Series | None = None,
) -> PageTable:
    """A frame as a table of a page.

    Args:
        frame: any.
        headings: heading and meaning of a column, by its name; others go by their names.
        settings: columns whose numbers are shown as they were given; others are measured, and have three digits.
        leads: which rows stand out.

    >>> page_table(pd.DataFrame({"scheme": ["vimco"], "value": [-1.23456]})).rows[0].cells[1]
    Cell(text='-1.235', value='-1.23456', kind='number')
    """
    known = {} if headings is None else headings
    numeric = {name: frame[name].dtype.kind in "fiu" for name in frame}
    columns = [
        Column(*known.get(str(name), (str(name).replace("_", " "), "")), is_number=numeric[name]) for name in frame
    ]
    stand_out = [False] * len(frame) if leads is None else [bool(lead) for lead in leads]
    rows = [
        Row(
            [_cell(value, numeric[name], given=name in settings) for name, value in zip(frame, values, strict=True)],
            lead,
        )
        for values, lead in zip(frame.itertuples(index=False, name=None), stand_out, strict=True)
    ]
    return PageTable(columns, rows)


def _cell(value: object, is_number: bool, *, given: bool) -> Cell:
    kind = "number" if is_number else ""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return Cell("", "", kind)
    if isinstance(value, (bool, np.bool_)):
        return Cell("yes" if value else "no", "yes" if value else "no", kind)
    if isinstance(value, (float, np.floating)):
        return Cell(f"{value:g}" if given else in_digits(float(value)), repr(float(value)), kind)
    text = str(value)
    return Cell(text, text, "long" if len(text) > LONG else kind)
