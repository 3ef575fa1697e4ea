"""The rules for rows of data, two dimensions with at least one row and column, and for binary ones: 0 or 1."""

from __future__ import annotations

import torch

__all__ = ["check_binary", "check_rows"]


def check_binary(x: torch.Tensor, *, name: str, width: int | None = None, missing: bool = False) -> None:
    """Refuse anything but a non-empty [data, units] tensor of 0 and 1.

    Args:
        x: [data, units], of any dtype, on any device.
        name: the user's name of the tensor; it begins the error message.
        width: the number of units to expect, if that is known.
        missing: whether values may be missing (NaN).

    Raises:
        ValueError: for another type, layout, shape, width or value (NaN included unless it may be missing); a bad value
            is given with its row and column, counted from 0.

    Example:
        >>> check_binary(torch.tensor([[0.0, 1.0], [1.0, 1.0]]), name="train", width=2)
        >>> check_binary(torch.tensor([[0.0, 1.0], [0.5, 1.0]]), name="train")
        Traceback (most recent call last):
        ValueError: train has 0.5 at row 1, column 0 (counted from 0), expected 0 or 1

    """
    check_rows(x, name=name, width=width)
    # Asked this way round because NaN equals nothing.
    allowed = (x == 0) | (x == 1) | (x.isnan() if missing else False)
    if not allowed.all():
        row, column = (~allowed).nonzero()[0].tolist()
        place = f"row {row}, column {column} (counted from 0)"
        raise ValueError(f"{name} has {x[row, column].item()} at {place}, expected 0 or 1")


def check_rows(x: torch.Tensor, *, name: str, width: int | None = None) -> None:
    """Refuse anything but a non-empty, dense [data, units] tensor of real numbers.

    Args:
        x: [data, units], of any dtype, on any device.
        name: the user's name of the tensor; it begins the error message.
        width: the number of units to expect, if that is known.

    Raises:
        ValueError: for another type, layout, shape or width.

    """
    if not isinstance(x, torch.Tensor):
        raise ValueError(f"{name} is of type {type(x).__name__}, expected a torch.Tensor")
    if x.layout != torch.strided or x.is_nested:
        raise ValueError(f"{name} is a sparse or nested tensor, expected a dense one; make it one with .to_dense()")
    if x.is_meta:
        raise ValueError(f"{name} is on device 'meta', which holds no numbers")
    if x.is_complex():
        raise ValueError(f"{name} has complex numbers, expected 0 or 1")
    if x.ndim != 2:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, expected two dimensions [data, units]")
    if x.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, expected at least one row and one column")
    if width is not None and x.shape[1] != width:
        raise ValueError(f"{name} has width {x.shape[1]}, expected {width} columns")
