"""Data as people have them, as named observations: tensors, arrays, DataFrames, or mappings of any of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from pyro_helm.data.patterns import PatternDistribution

__all__ = [
    "DataLike",
    "Observations",
    "collated",
    "collated_batch",
    "is_dataset",
    "main_name",
    "named",
    "observed_data",
    "unit_names",
]

Observations = dict[str, Tensor]
"""By name, each with the data in front."""

Values: TypeAlias = "Tensor | np.ndarray | pd.DataFrame"
DataLike: TypeAlias = "Values | Mapping[str, Any] | PatternDistribution | Dataset[Any] | DataLoader[Any]"
"""What data may be handed in as."""


def observed_data(data: Any, weights: Any = None, *, name: str = "data") -> tuple[Observations, Any]:
    """Data of any kind as observations, and what each counts for; patterns count for their probabilities.

    Args:
        data: as for :func:`named`, or a distribution over patterns, or a data set of mappings, which is read whole.
        weights: the caller's, which go before those of a distribution.
        name: of the argument, for errors.

    """
    if isinstance(data, PatternDistribution):
        return {"x": data.patterns}, data.probabilities if weights is None else weights
    if is_dataset(data):
        dataset: Any = data.dataset if isinstance(data, DataLoader) else data
        collate = data.collate_fn if isinstance(data, DataLoader) else None
        return collated(dataset, range(len(dataset)), name=name, collate=collate), weights
    return named(data, name=name), weights


def is_dataset(data: Any) -> TypeGuard[Dataset[Any] | DataLoader[Any]]:
    """Whether it is one of torch's data sets that are read by number, or a loader of one."""
    data = data.dataset if isinstance(data, DataLoader) else data
    return isinstance(data, Dataset) and not isinstance(data, IterableDataset) and hasattr(data, "__len__")


def collated(data: Any, rows: Iterable[int], *, name: str = "data", collate: Any = None) -> Observations:
    """Some rows of a data set of mappings, as observations.

    Args:
        data: the data set.
        rows: their numbers.
        name: of the argument, for errors.
        collate: what makes a minibatch of rows; torch's own if None.

    """
    return collated_batch((collate or default_collate)([data[row] for row in rows]), name=name)


def collated_batch(batch: Any, *, name: str = "data") -> Observations:
    """A minibatch that a loader has made, as observations."""
    # of a TensorDataset of one tensor it is a list of one
    return named(batch[0] if isinstance(batch, list) and len(batch) == 1 else batch, name=name)


def named(data: Any, *, name: str = "data") -> Observations:
    """Data as observations by name; what is not a mapping is ``x``.

    Args:
        data: a tensor, a numpy array or a pandas DataFrame ``[data, units]``; a Series of one value per datum in a
            mapping; or a mapping of such by name, all with as many data. What is missing (None, NA) is NaN.
        name: of the argument, for errors.

    Raises:
        TypeError: for names that are no text.
        ValueError: for data of another type, columns that hold no numbers, or numbers of data that differ.

    >>> {name: list(value.shape) for name, value in named({"x": np.ones((3, 2)), "label": torch.arange(3)}).items()}
    {'x': [3, 2], 'label': [3]}
    """
    if not isinstance(data, Mapping):
        return {"x": _tensor(data, name)}
    if not data or not all(isinstance(key, str) for key in data):
        raise TypeError(f"{name} must name its observations, such as {{'x': rows}}, got the names {list(data)}")
    observations = {key: _tensor(value, f"{name}[{key!r}]") for key, value in data.items()}
    for key, value in observations.items():
        if value.dim() == 0:
            raise ValueError(f"{name}[{key!r}] is a single number, expected one row or value for each datum")
    numbers = {key: len(value) for key, value in observations.items()}
    if len(set(numbers.values())) > 1:
        listed = ", ".join(f"{number} of {key!r}" for key, number in numbers.items())
        raise ValueError(f"{name} has {listed}; all observations must have the same number of data")
    return observations


def main_name(observations: Mapping[str, Any]) -> str:
    """The observation that the others go with: ``x``, or the first without one."""
    return "x" if "x" in observations else next(iter(observations))


def unit_names(data: Any) -> list[str] | None:
    """Names of the visible units, the columns of a DataFrame; None where they have none."""
    if isinstance(data, Mapping):
        data = data[main_name(data)] if data else None
    return [str(column) for column in data.columns] if isinstance(data, pd.DataFrame) else None


def _tensor(data: Any, name: str) -> Tensor:
    if isinstance(data, Tensor):
        return data
    if isinstance(data, pd.DataFrame):
        columns = [_column(data.iloc[:, k], f"{name}, column {column!r},") for k, column in enumerate(data.columns)]
        return torch.from_numpy(np.column_stack(columns) if columns else np.empty(data.shape))
    if isinstance(data, pd.Series):
        return torch.from_numpy(_column(data, name).copy())
    if isinstance(data, np.ndarray):
        if data.dtype.kind not in "biuf":
            raise ValueError(f"{name} is an array of {data.dtype}, expected booleans, integers or real numbers")
        wide = data.dtype.kind == "u" and data.itemsize > 1  # torch lacks operations for these
        rows = np.ascontiguousarray(data.astype(np.float64) if wide else data)
        return torch.from_numpy(rows if rows.flags.writeable else rows.copy())
    parts = f"; did you mean its part {name}.train?" if hasattr(data, "train") else ""
    raise ValueError(
        f"{name} is of type {type(data).__name__}, expected a torch.Tensor, a numpy array, a pandas DataFrame, or a "
        f"mapping of these by name{parts}"
    )


def _column(column: pd.Series, name: str) -> np.ndarray:
    """Its numbers; NaN where one is missing."""
    try:
        if isinstance(column.dtype, pd.CategoricalDtype):
            raise ValueError("it holds categories")
        numbers: np.ndarray = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} holds {column.dtype}, expected numbers or booleans; make groups of 0 and 1 of categories, by "
            "pandas.get_dummies or pyro_helm.read_table"
        ) from error
    return numbers
