"""What a comma-separated file was read as: its columns, and the units that they became."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from pyro_helm.runtime.shown import Card, Shown, shortened

_SHOWN_COLUMNS = 12


class Column(NamedTuple):
    """A column of a file: its name, what it was read as, the units that it became, and how many cells are missing."""

    name: str
    read_as: str
    units: tuple[str, ...]
    missing: int


@dataclass(frozen=True, repr=False)
class Table(Shown):
    """A file of rows, as it was understood.

    Attributes:
        frame: units as columns, by name, of 0 and 1 or numbers; NaN where missing.
        columns: of the file, in their order.
        has_names: whether line 1 was read as names.
        separator: between cells.

    """

    frame: pd.DataFrame
    columns: tuple[Column, ...]
    has_names: bool
    separator: str

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """Units of each column of categories, of which one is 1."""
        return {column.name: column.units for column in self.columns if column.read_as.startswith("categories")}

    @property
    def groups(self) -> tuple[int, ...]:
        """Units of each column, for ``BeliefNetwork(..., visible="categorical", groups=table.groups)``.

        Raises:
            ValueError: for a column that is no categories, or a single one; drop it from the file, or leave out
                ``visible="categorical"``.

        """
        of_data = [column for column in self.columns if column.units]
        for column in of_data:
            if column.name not in self.categories or len(column.units) < 2:
                raise ValueError(
                    f"groups need columns of two categories or more, but column {column.name!r} was read as "
                    f"{column.read_as}; drop it, or model all units without groups"
                )
        return tuple(len(column.units) for column in of_data)

    def described(self) -> pd.DataFrame:
        """What was understood, one row for each column of the file: ``column, read_as, units, missing``."""
        rows = [(column.name, column.read_as, len(column.units), column.missing) for column in self.columns]
        return pd.DataFrame(rows, columns=["column", "read_as", "units", "missing"])

    def _card(self) -> Card:
        number, units = self.frame.shape
        line = "names" if self.has_names else "data"
        facts = [f"line 1 was read as {line}; cells are separated by {self.separator!r}"]
        for column in self.columns[:_SHOWN_COLUMNS]:
            missing = f", {column.missing} missing" * (column.missing > 0)
            facts.append(f"{shortened(column.name)}: {shortened(column.read_as)}{missing}")
        if len(self.columns) > _SHOWN_COLUMNS:
            facts.append(f"and {len(self.columns) - _SHOWN_COLUMNS} more columns; .described() has all of them")
        return Card(f"Table of {number} rows and {units} units", facts)
