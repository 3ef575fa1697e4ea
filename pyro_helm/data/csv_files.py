"""Tables as people have them, from comma-separated files: what each column is, and the units that it becomes.

What the first line is can't be seen from it alone where its cells could be both. Such a file is refused, rather than
one row lost or made up; and so is a column that mixes numbers and text, in which either may be a flaw.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
from collections.abc import Callable, Collection
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyro_helm.data.read_tables import Column, Table

__all__ = ["read_table"]

MISSING = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null", "none", "<na>"})
"""Cells that are read as missing, in letters of either case."""

TRUTHS = (
    {"0": 0.0, "1": 1.0},
    {"false": 0.0, "true": 1.0},
    {"f": 0.0, "t": 1.0},
    {"no": 0.0, "yes": 1.0},
    {"n": 0.0, "y": 1.0},
)
"""Pairs of words for 0 and 1, in letters of either case."""

SEPARATORS = (";", "\t", "|", ",")
INDEX_NAMES = ("", "unnamed: 0", "index", "id")
MOST_CATEGORIES = 200
_WITH_SETTINGS = re.compile(r"(?P<path>.*\.csv)(?P<settings>( +[\w]+=.*)+)", re.IGNORECASE)


def read_table(
    path: str | os.PathLike[str],
    *,
    index: str | None = None,
    header: bool | None = None,
    missing: Collection[str] = (),
    separator: str | None = None,
) -> Table:
    r"""Read a comma-separated file as it comes.

    A column of 0 and 1, true and false, yes and no, or their first letters becomes a unit. A column of other text
    becomes a group of units ``column=category``, one for each category, of which one is 1. Other numbers stay as they
    are; where the separator is no comma they may have a decimal comma. Lines and columns are counted from 1, as
    editors do.

    Args:
        path: of the file, in UTF-8.
        index: name of the column that names the rows, which is no data; None for the first one if it is called so, has
            no name, or has another text in every row.
        header: whether line 1 holds names; None to see: it does if its cells count 0, 1, 2, ... as pandas numbers
            columns, or if some cell is no number, none is a value such as 0 or true, and none occurs again below.
        missing: cells that mark a missing value, beside empty ones, ``?``, ``NA``, ``NaN``, ``null`` and ``None``.
        separator: between cells; None for the one of ``; tab | ,`` that divides all lines alike.

    Raises:
        ValueError: one sentence with the file, the place, what was found and what is expected.

    >>> _ = Path("votes.csv").write_text("id;party;budget\n7;left;y\n9;right;?\n")
    >>> read_table("votes.csv").frame
       party=left  party=right  budget
    0         1.0          0.0     1.0
    1         0.0          1.0     NaN
    """
    path = Path(path)
    separator = _separator(path) if separator is None else separator
    cells = _cells(path, separator)
    markers = MISSING | {marker.strip().lower() for marker in missing}
    has_names = _are_names(cells, f"{path}, line 1", markers) if header is None else header
    names = _names(cells.iloc[0].tolist(), path) if has_names else [str(k) for k in range(cells.shape[1])]
    if has_names:
        cells = cells.iloc[1:]
    if not len(cells):
        raise ValueError(f"{path} has no rows of data, expected at least one")
    cells.columns = pd.Index(names)
    cells, with_commas = _with_points(cells, markers) if separator != "," else (cells, set())
    of_index = _index(cells, index, has_names, path)
    how = "line 1 was read as names" if has_names else "line 1 was read as data"
    columns: list[Column] = []
    units: dict[str, np.ndarray] = {}
    for number, name in enumerate(names):
        if number == of_index:
            columns.append(Column(name or "(no name)", "names of the rows", (), 0))
            continue
        where = lambda row, number=number, name=name: (  # noqa: E731
            f"{path}, line {row + 1}, column {number + 1}{f' ({name})' if has_names else ''}"
        )
        read_as, found = _units(cells.iloc[:, number], name, markers, where, how)
        read_as += " (with decimal commas)" * (number in with_commas)
        columns.append(Column(name, read_as, tuple(found), int(np.isnan(next(iter(found.values()))).sum())))
        twice = next((unit for unit in found if unit in units), None)
        if twice is not None:
            raise ValueError(f"{path} has two columns for a unit {twice!r}, expected names that differ")
        units |= found
    if not units:
        raise ValueError(f"{path} has no column of data beside the names of its rows")
    return Table(pd.DataFrame(units), tuple(columns), has_names, separator)


def _separator(path: Path) -> str:
    """The first that divides all of the first lines into as many cells, more than one; a comma if none does."""
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as stream:
        lines = list(islice((line for line in stream if line.strip()), 50))
    for separator in SEPARATORS:
        widths = {len(cells) for cells in csv.reader(lines, delimiter=separator)}
        if len(widths) == 1 and widths.pop() > 1:
            return separator
    return ","


def _cells(path: Path, separator: str) -> pd.DataFrame:
    """Every cell as text without spaces around it, by line (the index, from 0) and column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            cells = pd.read_csv(
                stream, sep=separator, header=None, dtype=str, na_filter=False, skip_blank_lines=False,
                skipinitialspace=True, engine="python",
            )  # fmt: skip
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x}"
        raise ValueError(f"{path} is not readable as text ({found}), expected UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} has no rows of data, expected at least one") from error
    except (pd.errors.ParserError, csv.Error) as error:
        raise ValueError(f"{path} is not a readable .csv file ({error}), expected lines of as many cells") from error
    return _checked_lines(cells, path)


def _with_points(cells: pd.DataFrame, markers: Collection[str]) -> tuple[pd.DataFrame, set[int]]:
    """Cells with points in the place of decimal commas, and the columns that had some: numbers without a point."""
    found: set[int] = set()
    columns = [cells.iloc[:, number] for number in range(cells.shape[1])]
    for number, column in enumerate(columns):
        known = column[~column.str.lower().isin(markers)]
        pointed = column.str.replace(",", ".", regex=False)
        has_commas = known.str.contains(",").any() and not known.str.contains(".", regex=False).any()
        if has_commas and pointed[known.index].map(_number).notna().all():
            found.add(number)
            columns[number] = pointed
    return pd.concat(columns, axis=1), found


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _checked_lines(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The lines without blank ones at the end; refuses a short or blank one among the others."""
    if not cells.size:
        raise ValueError(f"{path} has no rows of data, expected at least one")
    short = cells.isna().any(axis=1)
    blank = cells.isna().all(axis=1) if cells.shape[1] > 1 else cells.iloc[:, 0].isna()
    full = np.flatnonzero(~blank.to_numpy())
    if not len(full):
        raise ValueError(f"{path} has no rows of data, expected at least one")
    end = full[-1] + 1
    cells, short, blank = cells.iloc[:end], short.iloc[:end], blank.iloc[:end]
    width = cells.shape[1]
    if blank.any():
        raise ValueError(f"{path}, line {int(np.flatnonzero(blank)[0]) + 1} is blank, expected {width} cells")
    if short.any():
        line = int(np.flatnonzero(short)[0])
        found = int(cells.iloc[line].notna().sum())
        raise ValueError(f"{path}, line {line + 1} has {found} of {width} cells, expected as many as in line 1")
    stripped: pd.DataFrame = cells.apply(lambda column: column.str.strip())
    return stripped


def _are_names(cells: pd.DataFrame, where: str, markers: Collection[str]) -> bool:
    """Tell a line of names from data, such that data with a flaw is not passed over as names."""
    texts = cells.iloc[0].tolist()
    numbered = [str(k) for k in range(len(texts))]
    if texts == numbered:
        if len(texts) < 3:
            raise ValueError(
                f"{where} is {','.join(texts)}, which may be names (pandas numbers columns so) or data; put a line of "
                "other names, such as a,b, in front of the data, or say which by header="
            )
        return True
    if len(texts) > 1 and texts[0].lower() in INDEX_NAMES[:2] and texts[1:] == numbered[:-1]:
        return True  # pandas wrote them above an index
    numbers = [_number(text) for text in texts if text]
    if None not in numbers or 0 in numbers or 1 in numbers:
        return False
    truths = {word for pair in TRUTHS for word in pair if len(word) > 1}
    if any(text.lower() in truths or (text and text.lower() in markers) for text in texts):
        return False
    below = cells.iloc[1:]
    return not any(text and (below.iloc[:, k] == text).any() for k, text in enumerate(texts) if _number(text) is None)


def _names(texts: list[str], path: Path) -> list[str]:
    for k, text in enumerate(texts):
        if not text and k:
            raise ValueError(f"{path}, line 1, column {k + 1} (counted from 1) is an empty name; name it")
        if text in texts[:k]:
            raise ValueError(
                f"{path}, line 1 was read as names, but {text!r:.60} stands in it twice, expected names that differ"
            )
    return texts


def _index(cells: pd.DataFrame, asked: str | None, has_names: bool, path: Path) -> int | None:
    """Number of the column that names the rows, if there is one."""
    names = list(cells.columns)
    if asked is not None:
        if not has_names or asked not in names:
            raise ValueError(f"{path} has no column {asked!r} for the names of its rows; it has {', '.join(names)}")
        return names.index(asked)
    first = cells.iloc[:, 0]
    if len(names) == 1 or not has_names or not first.is_unique:
        return None
    is_text = len(first) > 2 and first.map(_number).isna().all()
    return 0 if is_text or names[0].lower() in INDEX_NAMES else None


def _units(
    cells: pd.Series, name: str, markers: Collection[str], where: Callable[[int], str], how: str
) -> tuple[str, dict[str, np.ndarray]]:
    """What a column was read as, and the units that it becomes."""
    lower = cells.str.lower()
    known = cells[~lower.isin(markers)]
    words = set(lower[known.index])
    for pair in TRUTHS:
        if words <= pair.keys() and words:
            as_words = "0 and 1" if "0" in pair else f"{' and '.join(pair)} (0 and 1)"
            return as_words, {name: lower.map(pair).to_numpy(dtype=float)}
    numbers = known.map(_number)
    if not len(known) or numbers.notna().all():
        values = numbers.reindex(cells.index).to_numpy(dtype=float)
        infinite = np.isinf(values)
        if infinite.any():
            line = int(cells.index[np.flatnonzero(infinite)[0]])
            raise ValueError(f"{where(line)} has {cells[line]!r:.60}, expected a finite number ({how})")
        is_binary = set(numbers) <= {0.0, 1.0}
        return "nothing but missing values" if not len(known) else "0 and 1" if is_binary else "numbers", {name: values}
    if numbers.notna().any():
        line = int(numbers.index[numbers.isna()][0])
        raise ValueError(
            f"{where(line)} has {cells[line]!r:.60} in a column of numbers, expected a number or a marker of missing "
            f"values ({how})"
        )
    categories = sorted(set(known))
    if len(categories) > MOST_CATEGORIES:
        raise ValueError(
            f"{where(int(cells.index[0]))} begins a column of {len(categories)} different texts, more than "
            f"{MOST_CATEGORIES} categories; give its name as index, or leave it out"
        )
    is_missing = lower.isin(markers).to_numpy()
    group = {
        f"{name}={category}": np.where(is_missing, np.nan, (cells == category).to_numpy(dtype=float))
        for category in categories
    }
    return f"categories ({', '.join(categories[:4])}{', ...' if len(categories) > 4 else ''})", group


def table_settings(text: str) -> tuple[str, dict[str, Any]]:
    """A path, and the settings of :func:`read_table` that follow a .csv, as command lines and studies write them.

    Raises:
        ValueError: for settings that there are not.

    >>> table_settings("survey.csv missing=-9,? index=person header=true")
    ('survey.csv', {'missing': ['-9', '?'], 'index': 'person', 'header': True})
    """
    match = _WITH_SETTINGS.fullmatch(text)
    if match is None or Path(text).exists():
        return text, {}
    settings: dict[str, Any] = {}
    for part in shlex.split(match["settings"]):
        name, _, value = part.partition("=")
        if name == "missing":
            settings[name] = value.split(",")
        elif name == "index" and value:
            settings[name] = value
        elif name == "header" and value in ("true", "false"):
            settings[name] = value == "true"
        else:
            raise ValueError(
                f"settings of a .csv file are missing=MARKERS, index=COLUMN and header=true or false, got {part!r:.60}"
            )
    return match["path"], settings
