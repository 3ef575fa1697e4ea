"""Reading 0/1 rows from comma-separated files, which may begin with a line of names.

What the first line is can't be seen from it alone where its cells could be both. Such a file is refused, rather than
one row lost or made up.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_csv"]

_FIRST_AS = {True: "line 1 was read as names", False: "line 1 was read as data"}


def read_csv(path: Path) -> NDArray[np.uint8]:
    """Read a comma-separated file; lines and columns are counted from 1, as editors do.

    The first line is read as

    - names, if some cell is no number and none reads 0 or 1; names must differ, and none may be empty, since pandas
      leaves that of its index so;
    - names, if its cells are 0, 1, 2, ... in order, three or more, as pandas numbers columns;
    - data otherwise.

    A first line of ``0`` alone or ``0,1`` alone may be names or data, and is refused.

    Raises:
        ValueError: one sentence with the file, the place, what was found, what is expected, and how the first line was
            read.

    """
    rows: list[NDArray[np.uint8]] = []
    blank = None  # a blank line may be a lost row, unless nothing follows it
    width = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                if not cells:
                    blank = blank or where
                    continue
                if blank:
                    raise ValueError(f"{blank} is blank, expected {width or 'some'} cells of 0 or 1")
                if width is None:
                    width = len(cells)
                    has_names = _are_names(cells, where)
                    if has_names:
                        continue
                if len(cells) != width:
                    raise ValueError(f"{where} has width {len(cells)}, expected {width} cells as in line 1")
                rows.append(_parse_row(cells, where, _FIRST_AS[has_names]))
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x}"
        raise ValueError(f"{path} is not readable as text ({found}), expected UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path} is not a readable .csv file ({error}), expected cells of 0 or 1") from error
    if not rows:
        raise ValueError(f"{path} has no rows of data, expected at least one of 0 and 1")
    return np.stack(rows)


def _are_names(cells: list[str], where: str) -> bool:
    """Tell a line of names from data, such that data with a flaw is not passed over as names."""
    texts = [cell.strip() for cell in cells]
    numbered = [str(k) for k in range(len(texts))]
    if texts == numbered:
        if len(texts) < 3:
            raise ValueError(
                f"{where} is {','.join(texts)}, which may be names (pandas numbers columns so) or data; put a line of "
                "other names, such as a,b, in front of the data"
            )
        return True
    values = [_number(cell) for cell in texts if cell]
    is_index = not texts[0] and texts[1:] == numbered[:-1] and len(texts) > 1
    if not is_index and (None not in values or 0 in values or 1 in values):
        return False
    if "" in texts:
        raise ValueError(
            f"{where}, column {texts.index('') + 1} (counted from 1) is an empty name, as pandas writes above an "
            "index; leave the column out, by to_csv(path, index=False), or name it"
        )
    if texts[0] == "Unnamed: 0":
        raise ValueError(
            f"{where} begins with 'Unnamed: 0', as pandas names an index that it read as a column; leave the column "
            "out, by to_csv(path, index=False), or name it"
        )
    twice = next((text for k, text in enumerate(texts) if text in texts[:k]), None)
    if twice is not None:
        raise ValueError(f"{where} was read as names, but {_cut(twice)} stands in it twice, expected names that differ")
    return True


def _parse_row(cells: list[str], where: str, first_as: str) -> NDArray[np.uint8]:
    if not set(cells) <= {"0", "1"}:  # the plain case is kept fast; the rest goes cell by cell
        cells = [_parse_cell(cell, f"{where}, column {k}", first_as) for k, cell in enumerate(cells, start=1)]
    return np.frombuffer("".join(cells).encode(), dtype=np.uint8) - ord("0")


def _parse_cell(cell: str, where: str, first_as: str) -> str:
    value = _number(cell)
    if value not in (0, 1):
        found = _cut(cell) if cell.strip() else "an empty cell"
        raise ValueError(f"{where} (counted from 1) has {found}, expected 0 or 1 ({first_as})")
    return "1" if value else "0"


def _cut(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else f"{cell[:40]}...")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
