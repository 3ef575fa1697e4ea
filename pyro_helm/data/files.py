"""Reading arrays of numbers from .npz, .npy and .csv files, with errors that say what to mend."""

from __future__ import annotations

import math
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pyro_helm.data.checks import check_binary, check_rows
from pyro_helm.data.csv_files import read_table
from pyro_helm.data.read_tables import Table
from pyro_helm.data.splits import EXPECTED_ARRAYS, PARTS
from pyro_helm.runtime.budget import in_words

__all__ = ["SUFFIXES", "array_shapes", "read_file", "unit_names"]

SUFFIXES = (".npz", ".npy", ".csv")
LARGEST = 2 * 2**30
"""Bytes that the arrays of a file may take, as they are stored and with 8 for each row's place in the split."""

_USED = (*PARTS, "X", "image_shape", "observed")  # other arrays of a .npz (labels, names) are not even read
# What zipfile and numpy raise for files that are damaged, encrypted, pickled or no archive at all.
_UNREADABLE = (ValueError, EOFError, OSError, MemoryError, NotImplementedError, RuntimeError,
               SyntaxError, TypeError, TokenError, zipfile.BadZipFile, zlib.error)  # fmt: skip


def read_file(
    path: Path, *, missing: bool = False, table: Mapping[str, Any] = MappingProxyType({})
) -> tuple[dict[str, torch.Tensor], tuple[int, int] | None]:
    """Read the arrays that hold data, checked to be numbers and equally wide, and the image shape if given.

    A .npz may hold `train`, `valid`, `test`, `X` ([data, units] each), `observed` (of the shape of `X`, 0 where a value
    is not known, which is NaN if `missing`) and `image_shape` (two integers). A .npy holds one array, a .csv the rows
    that :func:`pyro_helm.read_table` reads with the settings `table`; they count as `X`. Headers are read first: arrays
    of more than 2 GiB are refused before memory is taken for them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: one sentence with the file, the place, what was found and what is expected.

    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a file that ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() not in SUFFIXES:
        found = f"ends in {path.suffix!r}" if path.suffix else "has no suffix"
        raise ValueError(f"{path} {found}, expected {', '.join(SUFFIXES)}")
    size = _size_of_regular_file(path)
    if size == 0:
        raise ValueError(f"{path} is empty, expected rows of 0 and 1")
    if path.suffix.lower() == ".csv":
        _check_bytes(size, str(path))
        return {"X": _rows_of(read_table(path, **table))}, None
    if table:
        raise ValueError(f"{', '.join(table)} are for a .csv file, got {path}")
    raw = _read_npz(path) if path.suffix.lower() == ".npz" else {"X": _read_npy(path)}
    shape = raw.pop("image_shape", None)
    tensors = {}
    width = None
    for key, array in raw.items():
        where = f"{path}: array {key!r}" if path.suffix.lower() == ".npz" else str(path)
        if key == "observed" and not missing:
            continue
        tensors[key] = _to_tensor(array)
        if key == "observed":
            check_binary(tensors[key], name=where, width=width)
        else:
            check_rows(tensors[key], name=where, width=width)  # the model says which numbers it takes
        width = width or tensors[key].shape[1]
    observed = tensors.pop("observed", None)
    if missing and observed is not None and "X" in tensors:
        if observed.shape != tensors["X"].shape:
            raise ValueError(
                f"{path}: array 'observed' has shape {tuple(observed.shape)}, expected that of 'X', "
                f"{tuple(tensors['X'].shape)}"
            )
        tensors["X"] = tensors["X"].double().masked_fill(observed == 0, torch.nan)
    return tensors, None if shape is None else _image_shape(shape, width, path)


def unit_names(path: Path, table: Mapping[str, Any] = MappingProxyType({})) -> tuple[str, ...] | None:
    """Names of the units: the columns of a .csv, or the array `names` of a .npz; None where there are none."""
    if path.suffix.lower() == ".csv":
        read = read_table(path, **table)
        return tuple(read.frame.columns) if read.has_names else None
    if path.suffix.lower() != ".npz":
        return None
    with np.load(path, allow_pickle=False) as file:
        names = file["names"] if "names" in file.files else None
    return None if names is None or names.dtype.kind != "U" or names.ndim != 1 else tuple(map(str, names))


def _rows_of(table: Table) -> torch.Tensor:
    """0 and 1 as bytes, as long as there are no others."""
    values = table.frame.to_numpy()
    return torch.from_numpy(values.astype(np.uint8) if np.isin(values, (0, 1)).all() else values.copy())


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Give the shapes of the arrays of a .npz that are used, from the headers alone.

    Raises:
        ValueError: if the file is no .npz, has no array that is used, or arrays of more than 2 GiB.

    """
    headers: dict[str, _Header] = {}
    _size_of_regular_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            for key in _USED:
                if f"{key}.npy" in members:
                    with archive.open(f"{key}.npy") as stream:
                        headers[key] = _read_header(stream)
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not readable ({_reason(error)}), expected a .npz file of numpy.savez") from error
    if not headers.keys() - {"image_shape", "observed"}:
        found = [member.removesuffix(".npy") for member in members]
        if {"indices", "indptr"} <= set(found):
            raise ValueError(
                f"{path} holds a sparse matrix, expected a dense one: numpy.savez(path, X=matrix.toarray())"
            )
        listed = f"{found[:10]} and {len(found) - 10} more" if len(found) > 10 else f"{found}"
        raise ValueError(f"{path} has the arrays {listed}, expected {EXPECTED_ARRAYS}")
    _check_bytes(sum(header.num_bytes for header in headers.values()), str(path))
    return {key: header.shape for key, header in headers.items()}


class _Header(NamedTuple):
    """What the first bytes of an array in numpy's format say."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize + 8 * math.prod(self.shape[:1])


def _read_header(stream: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if any(number < 0 for number in shape):
        raise ValueError(f"its shape is {shape}")
    return _Header(shape, dtype)


def _size_of_regular_file(path: Path) -> int:
    """Size in bytes; ValueError for a pipe, a socket or a device, which could be waited on for ever."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a regular file, expected one that ends in {', '.join(SUFFIXES)}")
    return status.st_size


def _check_bytes(num_bytes: int, where: str) -> None:
    if num_bytes > LARGEST:
        raise ValueError(
            f"{where} holds {in_words(num_bytes)}, but a data file may hold {in_words(LARGEST)} at most; store 0 and 1 "
            "as booleans, or pass a tensor of your own to fit"
        )


def _reason(error: BaseException) -> str:
    """Give the first line of an error: some of numpy's run on for several sentences."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays that are used, in the order train, valid, test, X, image_shape."""
    arrays = {}
    for key in array_shapes(path):
        where = f"{path}: array {key!r}"
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
            _check_header(stream, where)
            stream.seek(0)
            arrays[key] = _read_array(stream, where)
    return arrays


def _read_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as stream:
        _check_header(stream, str(path))
        stream.seek(0)
        return _read_array(stream, str(path))


def _check_header(stream: IO[bytes], where: str) -> None:
    """Refuse an array that is too large, or of no numbers, from its first bytes."""
    try:
        header = _read_header(stream)
    except _UNREADABLE as error:
        raise ValueError(f"{where} is not readable ({_reason(error)}), expected numpy's format and numbers") from error
    if header.dtype.kind not in "buif":
        raise ValueError(f"{where} has dtype {header.dtype}, expected booleans, integers or real numbers")
    _check_bytes(header.num_bytes, where)


def _read_array(stream: IO[bytes], where: str) -> NDArray[Any]:
    try:
        return np.lib.format.read_array(stream, allow_pickle=False)  # a pickle could run code
    except _UNREADABLE as error:
        raise ValueError(f"{where} is not readable ({_reason(error)}), expected numpy's format and numbers") from error


def _to_tensor(array: NDArray[Any]) -> torch.Tensor:
    """Convert without changing a value, so that what the check names is what the file holds."""
    if array.dtype.kind == "u" and array.itemsize > 1:
        array = array.astype(np.float64)  # torch lacks operations for wide unsigned integers
    elif array.dtype.kind == "f" and array.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


def _image_shape(array: NDArray[Any], width: int | None, path: Path) -> tuple[int, int]:
    fits = array.shape == (2,) and array.dtype.kind in "ui" and (array > 0).all()
    if not fits or (width is not None and int(array[0]) * int(array[1]) != width):
        found = f"{array.tolist() if array.size < 10 else f'of shape {array.shape}'} of dtype {array.dtype}"
        raise ValueError(
            f"{path}: array 'image_shape' is {found}, expected two positive integers whose product is {width}"
        )
    return int(array[0]), int(array[1])
