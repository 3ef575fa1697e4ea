"""How rows are divided into train, valid and test where their publisher has not done so."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXPECTED_ARRAYS", "PARTS", "split_rows"]

PARTS = ("train", "valid", "test")
EXPECTED_ARRAYS = "train and test (valid may be missing), or X alone"


def split_rows(num_rows: Mapping[str, int], *, where: str) -> dict[str, tuple[str, NDArray[np.int64]]]:
    """Say, for train, valid and test, which array of a file its rows come from and which rows those are.

    - `train`, `valid` and `test` are taken as they are.
    - `train` and `test` alone: `numpy.random.default_rng(0).permutation` of the train rows; the first
      seven eighths stay train and the rest is valid (7 to 1, as below).
    - `X` alone: the same permutation; the first 70 % is train, the next 10 % valid, the rest test.

    Cuts are rounded down, but every part gets a row. Other arrays are ignored, and so is `X` beside a
    published split.

    Args:
        num_rows: the number of rows of each array, by the array's name.
        where: the file, for the error's sentence.

    Raises:
        ValueError: for lacking arrays or too few rows.

    Example:
        >>> {part: len(rows) for part, (_, rows) in split_rows({"X": 10}, where="ten.npy").items()}
        {'train': 7, 'valid': 1, 'test': 2}

    """
    if "train" in num_rows and "test" in num_rows:
        if "valid" in num_rows:
            return {part: (part, np.arange(num_rows[part])) for part in PARTS}
        train, valid = _shuffle(num_rows["train"], (7,), 8, where=f"{where}: array 'train'")
        test = np.arange(num_rows["test"])
        return {"train": ("train", train), "valid": ("train", valid), "test": ("test", test)}
    if "X" in num_rows and not any(part in num_rows for part in PARTS):
        pieces = _shuffle(num_rows["X"], (7, 8), 10, where=where)
        return {part: ("X", rows) for part, rows in zip(PARTS, pieces, strict=True)}
    raise ValueError(f"{where} has the arrays {list(num_rows)}, expected {EXPECTED_ARRAYS}")


def _shuffle(num_rows: int, cuts: tuple[int, ...], whole: int, *, where: str) -> list[NDArray[np.int64]]:
    """Cut the permuted row numbers at the fractions cuts / whole, leaving no piece empty."""
    if num_rows <= len(cuts):
        raise ValueError(f"{where} has too few rows to split: {num_rows}, expected at least {len(cuts) + 1}")
    points = [num_rows * cut // whole for cut in cuts]
    for k in range(len(points)):
        lowest = points[k - 1] + 1 if k else 1
        points[k] = min(max(points[k], lowest), num_rows - len(points) + k)
    return np.split(np.random.default_rng(0).permutation(num_rows), points)
