"""Reading 0/1 arrays from .npz, .npy and .csv files, with errors that say what to mend."""

from __future__ import annotations

import csv
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyro_helm.binary import check_binary
from pyro_helm.splits import EXPECTED_ARRAYS, PARTS

__all__ = ["SUFFIXES", "array_shapes", "read_file"]

SUFFIXES = (".npz", ".npy", ".csv")
_USED = (*PARTS, "X", "image_shape")  # other arrays of a .npz (labels, names) are not even read
# What zipfile and numpy raise for files that are damaged, encrypted, pickled or no archive at all.
_UNREADABLE = (ValueError, EOFError, OSError, MemoryError, NotImplementedError, RuntimeError,
               SyntaxError, TypeError, TokenError, zipfile.BadZipFile, zlib.error)  # fmt: skip


def read_file(path: Path) -> tuple[dict[str, torch.Tensor], tuple[int, int] | None]:
    """Read the arrays that hold data, checked to be 0/1 and equally wide, and the image shape if given.

    A .npz may hold `train`, `valid`, `test`, `X` ([data, units] each) and `image_shape` (two integers). A
    .npy holds one array, a .csv one row of cells a line; they count as `X`. In a .csv the first line is
    taken as names if some cell of it is no number and none reads 0 or 1.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: one sentence with the file, the place, what was found and what is expected.

    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a file that ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} ends in {path.suffix or 'nothing'!r}, expected {', '.join(SUFFIXES)}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty, expected rows of 0 and 1")
    if path.suffix.lower() == ".csv":
        return {"X": torch.from_numpy(_read_csv(path))}, None
    raw = _read_npz(path) if path.suffix.lower() == ".npz" else {"X": _read_npy(path)}
    shape = raw.pop("image_shape", None)
    tensors = {}
    width = None
    for key, array in raw.items():
        where = f"{path}: array {key!r}" if path.suffix.lower() == ".npz" else str(path)
        tensors[key] = _to_tensor(array, where)
        check_binary(tensors[key], name=where, width=width)
        width = width or tensors[key].shape[1]
    return tensors, None if shape is None else _image_shape(shape, width, path)


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Give the shapes of the arrays of a .npz that are used, from the headers alone.

    Raises:
        ValueError: if the file is no .npz, or has no array that is used.

    """
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            for key in _USED:
                if f"{key}.npy" in members:
                    with archive.open(f"{key}.npy") as stream:
                        shapes[key] = _read_shape(stream)
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not readable ({_reason(error)}), expected a .npz file of numpy.savez") from error
    if not shapes.keys() - {"image_shape"}:
        found = [member.removesuffix(".npy") for member in members]
        raise ValueError(f"{path} has the arrays {found}, expected {EXPECTED_ARRAYS}")
    return shapes


def _read_shape(stream: IO[bytes]) -> tuple[int, ...]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)[0]
    return np.lib.format.read_array_header_2_0(stream)[0]


def _reason(error: BaseException) -> str:
    """Give the first line of an error: some of numpy's run on for several sentences."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays that are used, in the order train, valid, test, X, image_shape."""
    arrays = {}
    for key in array_shapes(path):
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
            arrays[key] = _read_array(stream, f"{path}: array {key!r}")
    return arrays


def _read_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as stream:
        return _read_array(stream, str(path))


def _read_array(stream: IO[bytes], where: str) -> NDArray[Any]:
    try:
        return np.lib.format.read_array(stream, allow_pickle=False)  # a pickle could run code
    except _UNREADABLE as error:
        raise ValueError(f"{where} is not readable ({_reason(error)}), expected numpy's format and numbers") from error


def _to_tensor(array: NDArray[Any], where: str) -> torch.Tensor:
    """Convert without changing a value, so that what the check names is what the file holds."""
    if array.dtype.kind not in "buif":
        raise ValueError(f"{where} has dtype {array.dtype}, expected booleans, integers or real numbers")
    if array.dtype.kind == "u" and array.itemsize > 1:
        array = array.astype(np.float64)  # torch lacks operations for wide unsigned integers
    elif array.dtype.kind == "f" and array.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


def _image_shape(array: NDArray[Any], width: int | None, path: Path) -> tuple[int, int]:
    fits = array.shape == (2,) and array.dtype.kind in "ui" and (array > 0).all()
    if not fits or (width is not None and int(array[0]) * int(array[1]) != width):
        found = f"{array.tolist()} of dtype {array.dtype}"
        raise ValueError(
            f"{path}: array 'image_shape' is {found}, expected two positive integers whose product is {width}"
        )
    return int(array[0]), int(array[1])


def _read_csv(path: Path) -> NDArray[np.uint8]:
    """Read a comma-separated file; lines and columns are counted from 1, as editors do."""
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
                    if _are_names(cells):
                        continue
                if len(cells) != width:
                    raise ValueError(f"{where} has width {len(cells)}, expected {width} cells as in line 1")
                rows.append(_parse_row(cells, where))
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x}"
        raise ValueError(f"{path} is not readable as text ({found}), expected UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path} is not a readable .csv file ({error}), expected cells of 0 or 1") from error
    if not rows:
        raise ValueError(f"{path} has no rows of data, expected at least one of 0 and 1")
    return np.stack(rows)


def _are_names(cells: list[str]) -> bool:
    """Tell a line of names from data, such that data with a flaw is not passed over as names."""
    values = [_number(cell) for cell in cells if cell.strip()]
    return None in values and 0 not in values and 1 not in values


def _parse_row(cells: list[str], where: str) -> NDArray[np.uint8]:
    if not set(cells) <= {"0", "1"}:  # the plain case is kept fast; the rest goes cell by cell
        cells = [_parse_cell(cell, f"{where}, column {k}") for k, cell in enumerate(cells, start=1)]
    return np.frombuffer("".join(cells).encode(), dtype=np.uint8) - ord("0")


def _parse_cell(cell: str, where: str) -> str:
    value = _number(cell)
    if value not in (0, 1):
        found = repr(cell) if cell.strip() else "an empty cell"
        raise ValueError(f"{where} (counted from 1) has {found}, expected 0 or 1")
    return "1" if value else "0"


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
