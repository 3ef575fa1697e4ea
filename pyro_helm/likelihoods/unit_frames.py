"""Values of units as DataFrames, with the names of units and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

Blocks = dict[str, Tensor]
"""By name, ``[draws, restarts, data, *units]``; of sequences the units are ``[steps, units]``."""


def blocks(value: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """A site's values as ``[draws, restarts, data, *units]``; a site without an event has one unit."""
    batch = min(3, value.dim())
    for dims in range(batch, 0, -1):
        leading = torch.Size(shape[3 - dims :])
        if all(found in (1, wanted) for found, wanted in zip(value.shape[:dims], leading, strict=True)) and (
            value.shape[dims - 1] == shape[2]
        ):
            units = value.shape[dims:] or (1,)
            return value.reshape(*(1,) * (3 - dims), *value.shape[:dims], *units).expand(*shape, *units)
    raise ValueError(f"values of shape {list(value.shape)} are not of {shape[2]} data")


def numbered_units(site: str, shape: Sequence[int]) -> list[str]:
    """Names of units that have none of their own, ``x.0, x.1, ...``; of sequences by step, then unit."""
    return [".".join(map(str, (site, *place))) for place in np.ndindex(*shape)]


def framed(found: Mapping[str, Tensor], data: Any, names: Sequence[str] | None) -> pd.DataFrame:
    """One table of all blocks, side by side.

    Args:
        found: by name, ``[draws, restarts, data, *units]``.
        data: whose rows they are of; a DataFrame's index is kept.
        names: of the units, ``[units]`` of sequences for each step; None to number them.

    Raises:
        ValueError: for another number of names than units.

    """
    first = next(iter(found.values()))
    columns: list[str] = []
    for name, block in found.items():
        columns += numbered_units(name, block.shape[3:]) if names is None else _named(names, block.shape[3:])
    rows = data.index if isinstance(data, pd.DataFrame) else pd.RangeIndex(first.shape[2])
    levels: dict[str, Any] = {"draw": range(len(first)), "restart": range(first.shape[1]), "datum": rows}
    levels = {name: level for name, level in levels.items() if name == "datum" or len(level) > 1}
    index: pd.Index = pd.Index(rows, name="datum")
    if len(levels) > 1:
        index = pd.MultiIndex.from_product(list(levels.values()), names=list(levels))
    flat = [block.flatten(3).flatten(0, 2).cpu().numpy() for block in found.values()]
    return pd.DataFrame(np.concatenate(flat, axis=-1), index=index, columns=columns)


def _named(names: Sequence[str], shape: Sequence[int]) -> list[str]:
    *steps, units = shape
    if len(names) != units:
        raise ValueError(f"names must be {units}, one for each visible unit, got {len(names)}")
    return [f"{name}.{step[0]}" if step else str(name) for step in np.ndindex(*steps) for name in names]
