from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pyro_helm.data_files import array_shapes, read_file

GOOD = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1]], dtype=np.uint8)


def refused(path: Path, sentence: str) -> None:
    """Check that the whole error is this one sentence, which begins with the file."""
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}{sentence}')}$"):
        read_file(path)


def changed(row: int, column: int, value: float) -> NDArray[np.float64]:
    array = GOOD.astype(np.float64)
    array[row, column] = value
    return array


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i4", "<i8", ">i8", "u8", "f2", "f4", "f8", ">f4", "g"])
def test_zeros_and_ones_of_any_real_dtype_and_order_are_read(tmp_path: Path, dtype: str) -> None:
    array = np.asfortranarray(GOOD.astype(dtype))
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "x.npz", X=array)
    for name in ("x.npy", "x.npz"):
        arrays, image_shape = read_file(tmp_path / name)
        assert arrays["X"].tolist() == GOOD.tolist()
        assert image_shape is None


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (changed(1, 2, 0.5), " has 0.5 at row 1, column 2 (counted from 0), expected 0 or 1"),
        (changed(2, 0, np.nan), " has nan at row 2, column 0 (counted from 0), expected 0 or 1"),
        (
            changed(0, 0, 1 + 2**-50),
            f" has {1 + 2**-50} at row 0, column 0 (counted from 0), expected 0 or 1",
        ),
        (GOOD.astype("u2") * 257, " has 257.0 at row 0, column 1 (counted from 0), expected 0 or 1"),
        (-GOOD.astype("i8"), " has -1 at row 0, column 1 (counted from 0), expected 0 or 1"),
        (GOOD[0], " has shape (3,), expected two dimensions [data, units]"),
        (GOOD[None], " has shape (1, 3, 3), expected two dimensions [data, units]"),
        (GOOD[:0], " has shape (0, 3), expected at least one row and one column"),
        (GOOD[:, :0], " has shape (3, 0), expected at least one row and one column"),
        (GOOD.astype(str), " has dtype <U3, expected booleans, integers or real numbers"),
        (GOOD.astype(complex), " has dtype complex128, expected booleans, integers or real numbers"),
    ],
)
def test_an_array_that_is_not_binary_is_refused(tmp_path: Path, array: NDArray[Any], sentence: str) -> None:
    np.save(tmp_path / "x.npy", array)
    refused(tmp_path / "x.npy", sentence)
    np.savez(tmp_path / "x.npz", train=GOOD, test=array)
    refused(tmp_path / "x.npz", f": array 'test'{sentence}")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    array = np.array([[0, None]], dtype=object)
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    reason = " is not readable (Object arrays cannot be loaded when allow_pickle=False), "
    refused(tmp_path / "x.npy", f"{reason}expected numpy's format and numbers")
    np.savez(tmp_path / "x.npz", X=array)
    refused(tmp_path / "x.npz", f": array 'X'{reason}expected numpy's format and numbers")


def test_other_arrays_are_ignored_whatever_they_hold(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=GOOD, names=np.array(["a", None], dtype=object), y=np.array(7))
    arrays, _ = read_file(tmp_path / "x.npz")
    assert list(arrays) == ["X"]


def test_parts_of_different_width_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", test=GOOD[:, :2], train=GOOD)
    refused(tmp_path / "x.npz", ": array 'test' has width 2, expected 3 columns")


def test_an_archive_without_the_arrays_is_refused(tmp_path: Path) -> None:
    expected = "expected train and test (valid may be missing), or X alone"
    np.savez(tmp_path / "x.npz", images=GOOD, image_shape=[1, 3])
    refused(tmp_path / "x.npz", f" has the arrays ['images', 'image_shape'], {expected}")


def test_an_image_shape_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=GOOD, image_shape=np.array([1, 3]))
    assert read_file(tmp_path / "x.npz")[1] == (1, 3)
    assert array_shapes(tmp_path / "x.npz") == {"X": (3, 3), "image_shape": (2,)}


@pytest.mark.parametrize("shape", [[2, 2], [3], [-1, -3], [1.0, 3.0], [[1, 3]]])
def test_an_image_shape_that_does_not_fit_is_refused(tmp_path: Path, shape: list[Any]) -> None:
    array = np.array(shape)
    np.savez(tmp_path / "x.npz", X=GOOD, image_shape=array)
    found = f"{shape} of dtype {array.dtype}"
    refused(
        tmp_path / "x.npz",
        f": array 'image_shape' is {found}, expected two positive integers whose product is 3",
    )


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv"])
def test_missing_empty_and_folder(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(str(path))} does not exist$"):
        read_file(path)
    path.touch()
    refused(path, " is empty, expected rows of 0 and 1")
    path.unlink()
    path.mkdir()
    refused(path, " is a folder, expected a file that ends in .npz, .npy, .csv")


@pytest.mark.parametrize(("name", "found"), [("x.txt", "'.txt'"), ("x", "'nothing'")])
def test_other_suffixes_are_refused(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / name).write_text("0,1")
    refused(tmp_path / name, f" ends in {found}, expected .npz, .npy, .csv")


def test_files_that_are_not_what_they_are_called_are_refused(tmp_path: Path) -> None:
    for suffix in (".npz", ".npy"):
        (tmp_path / f"x{suffix}").write_bytes(b"0,1\n1,0\n")
    refused(tmp_path / "x.npz", " is not readable (File is not a zip file), expected a .npz file of numpy.savez")
    with pytest.raises(ValueError, match=r"x\.npy is not readable .*, expected numpy's format and numbers$"):
        read_file(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("X.npy", "0,1")
    with pytest.raises(ValueError, match=r"x\.npz is not readable .*, expected a \.npz file of numpy\.savez$"):
        read_file(tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_a_cut_or_damaged_file_is_refused_and_never_crashes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, X=GOOD)
    else:
        np.save(path, GOOD)
    content = path.read_bytes()
    for length in range(1, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="expected"):
            read_file(path)
    refusals = []
    for position in range(len(content)):  # a flipped byte may leave the data as it was: no error then
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        try:
            read_file(path)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all("expected" in sentence for sentence in refusals)


@pytest.mark.parametrize(
    "text",
    [
        "0,1,1\n1,0,0\n0,0,1\n",
        "0,1,1\r\n1,0,0\r\n0,0,1",
        "a,b,c\n0,1,1\n1,0,0\n0,0,1\n",
        "\ufeffa,b,c\n0,1,1\n1,0,0\n0,0,1\n\n\n",
        '"0","1","1"\n 1 , 0,0\n0.0,0e0,1.0\n',
        "year,1999,2000\n0,1,1\n1,0,0\n0,0,1\n",
    ],
)
def test_a_csv_is_read_with_or_without_a_line_of_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_bytes(text.encode())
    arrays, image_shape = read_file(tmp_path / "x.csv")
    assert arrays["X"].dtype == torch.uint8
    assert arrays["X"].tolist() == GOOD.tolist()
    assert image_shape is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n0,1\n1,2\n", ", line 3, column 2 (counted from 1) has '2', expected 0 or 1"),
        ("0,1\n1,yes\n", ", line 2, column 2 (counted from 1) has 'yes', expected 0 or 1"),
        ("0,1\nnan,1\n", ", line 2, column 1 (counted from 1) has 'nan', expected 0 or 1"),
        ("0,1\n1,\n", ", line 2, column 2 (counted from 1) has an empty cell, expected 0 or 1"),
        ("0,0.5\n", ", line 1, column 2 (counted from 1) has '0.5', expected 0 or 1"),
        # A first row of data with a flaw is not passed over as names.
        ("0,?\n1,1\n", ", line 1, column 2 (counted from 1) has '?', expected 0 or 1"),
        ("1,\n1,1\n", ", line 1, column 2 (counted from 1) has an empty cell, expected 0 or 1"),
        ("a,b\n0;1\n", ", line 2 has width 1, expected 2 cells as in line 1"),
        ("0,1\n1,0\n1\n", ", line 3 has width 1, expected 2 cells as in line 1"),
        ("0,1\n1,0,1\n", ", line 2 has width 3, expected 2 cells as in line 1"),
        ("0,1\n\n1,0\n", ", line 2 is blank, expected 2 cells of 0 or 1"),
        ("a,b\n", " has no rows of data, expected at least one of 0 and 1"),
        ("\n\n", " has no rows of data, expected at least one of 0 and 1"),
    ],
)
def test_a_csv_with_a_flaw_is_refused_with_its_line_and_column(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    refused(tmp_path / "x.csv", sentence)


def test_a_csv_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("0,1\n", encoding="utf-16")
    refused(tmp_path / "x.csv", " is not readable as text (byte 0xff), expected UTF-8")
    (tmp_path / "x.csv").write_text("0," + "1" * 200_000)
    reason = "field larger than field limit (131072)"
    refused(tmp_path / "x.csv", f" is not a readable .csv file ({reason}), expected cells of 0 or 1")
