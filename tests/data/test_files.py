from __future__ import annotations

import io
import multiprocessing
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyro_helm.data.files import array_shapes, read_file, unit_names

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
        (GOOD[0], " has shape (3,), expected two dimensions [data, units]"),
        (GOOD[None], " has shape (1, 3, 3), expected two dimensions [data, units]"),
        (GOOD[:0], " has shape (0, 3), expected at least one row and one column"),
        (GOOD[:, :0], " has shape (3, 0), expected at least one row and one column"),
        (GOOD.astype(str), " has dtype <U3, expected booleans, integers or real numbers"),
        (GOOD.astype(complex), " has dtype complex128, expected booleans, integers or real numbers"),
    ],
)
def test_an_array_that_holds_no_rows_of_numbers_is_refused(tmp_path: Path, array: NDArray[Any], sentence: str) -> None:
    np.save(tmp_path / "x.npy", array)
    refused(tmp_path / "x.npy", sentence)
    np.savez(tmp_path / "x.npz", train=GOOD, test=array)
    refused(tmp_path / "x.npz", f": array 'test'{sentence}")


def test_numbers_of_any_kind_are_read_as_they_are(tmp_path: Path) -> None:
    for number, array in enumerate((changed(1, 2, 0.5), -GOOD.astype("i8"), GOOD.astype("u2") * 257)):
        np.save(tmp_path / f"{number}.npy", array)
        np.savez(tmp_path / f"{number}.npz", X=array)
        for suffix in (".npy", ".npz"):
            assert read_file(tmp_path / f"{number}{suffix}")[0]["X"].tolist() == array.tolist()


def test_what_is_observed_is_told_by_zeros_and_ones(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=GOOD, observed=2 * GOOD)
    with pytest.raises(ValueError, match=r"array 'observed' has 2 at row 0, column 1 .*, expected 0 or 1"):
        read_file(tmp_path / "x.npz", missing=True)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    array = np.array([[0, None]], dtype=object)
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    sentence = " has dtype object, expected booleans, integers or real numbers"
    refused(tmp_path / "x.npy", sentence)
    np.savez(tmp_path / "x.npz", X=array)
    refused(tmp_path / "x.npz", f": array 'X'{sentence}")


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


def header_alone(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """The first bytes of an array, without its numbers."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_2_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("shape", "dtype", "held"),
    [
        ((2**70, 2), "|u1", "more than 1024 EiB"),
        ((2**33, 1), "|u1", "72.0 GiB"),
        ((1, 2**40), "<f8", "8.0 TiB"),
        ((2**20, 2**20), "|u1", "1.0 TiB"),
    ],
)
def test_arrays_too_large_are_refused_by_their_headers(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, held: str
) -> None:
    sentence = f" holds {held}, but a data file may hold 2.0 GiB at most; store 0 and 1 as booleans, or pass a tensor"
    (tmp_path / "x.npy").write_bytes(header_alone(shape, dtype))
    refused(tmp_path / "x.npy", f"{sentence} of your own to fit")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("X.npy", header_alone(shape, dtype))
    refused(tmp_path / "x.npz", f"{sentence} of your own to fit")


def test_a_zip_bomb_is_refused_by_its_headers(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train.npy", "w", force_zip64=True) as stream:
            stream.write(header_alone((2**31, 4)))
            stream.write(bytes(2**22))
        archive.writestr("test.npy", header_alone((4, 4)) + bytes(16))
    refused(
        tmp_path / "x.npz",
        " holds 24.0 GiB, but a data file may hold 2.0 GiB at most; store 0 and 1 as booleans, or pass a tensor of "
        "your own to fit",
    )


def test_a_header_of_a_negative_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(header_alone((-1, 3)) + bytes(9))
    refused(tmp_path / "x.npy", " is not readable (its shape is (-1, 3)), expected numpy's format and numbers")


def test_a_sparse_file_of_zeros_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "x.csv").open("wb") as stream:
        stream.truncate(2**40)
    refused(
        tmp_path / "x.csv",
        " holds 1.0 TiB, but a data file may hold 2.0 GiB at most; store 0 and 1 as booleans, or pass a tensor of your "
        "own to fit",
    )


def test_a_scipy_sparse_matrix_is_refused(tmp_path: Path) -> None:
    parts = {name: np.zeros(3) for name in ("indices", "indptr", "format", "shape", "data")}
    np.savez(tmp_path / "x.npz", **parts)  # type: ignore[arg-type]
    refused(tmp_path / "x.npz", " holds a sparse matrix, expected a dense one: numpy.savez(path, X=matrix.toarray())")


def test_long_lists_of_arrays_are_cut(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{f"a{k}": GOOD for k in range(30)})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'a9'\] and 20 more, expected"):
        read_file(tmp_path / "x.npz")


def check_refused_by_both(paths: list[Path]) -> None:
    for path in paths:
        for read in (read_file, array_shapes):
            with pytest.raises(
                ValueError, match=r"is not a regular file, expected one that ends in \.npz, \.npy, \.csv"
            ):
                read(path)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    suffixes = (".npz", ".npy", ".csv")
    for suffix in suffixes:
        os.mkfifo(tmp_path / f"pipe{suffix}")
        (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    paths = [tmp_path / f"{kind}{suffix}" for kind in ("pipe", "device") for suffix in suffixes]
    process = multiprocessing.get_context("fork").Process(target=check_refused_by_both, args=(paths,))
    process.start()
    process.join(60)
    process.kill()
    assert process.exitcode == 0


@pytest.mark.parametrize(("name", "found"), [("x.txt", "ends in '.txt'"), ("x", "has no suffix")])
def test_other_suffixes_are_refused(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / name).write_text("0,1")
    refused(tmp_path / name, f" {found}, expected .npz, .npy, .csv")


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


def test_missing_values_are_nan_or_what_is_not_observed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", changed(2, 0, np.nan))
    assert read_file(tmp_path / "x.npy")[0]["X"].isnan().nonzero().tolist() == [[2, 0]]
    observed = np.ones(GOOD.shape, dtype=bool)
    observed[1, 2] = False
    np.savez(tmp_path / "x.npz", X=GOOD, observed=observed, names=np.array(["a", "b", "c"]))
    assert read_file(tmp_path / "x.npz")[0]["X"].tolist() == GOOD.tolist()
    assert read_file(tmp_path / "x.npz", missing=True)[0]["X"].isnan().nonzero().tolist() == [[1, 2]]
    assert unit_names(tmp_path / "x.npz") == ("a", "b", "c")
    np.savez(tmp_path / "x.npz", X=GOOD, observed=observed[:2])
    with pytest.raises(ValueError, match=r"array 'observed' has shape \(2, 3\), expected that of 'X', \(3, 3\)"):
        read_file(tmp_path / "x.npz", missing=True)
