"""What `load_data` and `available_data` promise; the rules they stand on are tested file by file."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from pyro_helm.data.sets import Data, available_data, load_data

GENERATED = ["shifter", "bars"]
REAL_DATA = os.environ.get("PYRO_HELM_DATA")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder that PYRO_HELM_DATA names, on a machine without downloaded data."""
    monkeypatch.setenv("PYRO_HELM_DATA", str(tmp_path))
    monkeypatch.setenv("PYRO_HELM_CACHE", str(tmp_path / "cache"))
    return tmp_path


def binary(num_rows: int, units: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 2, (num_rows, units), dtype=np.uint8)


def rows(*tensors: torch.Tensor) -> Counter[tuple[float, ...]]:
    return Counter(tuple(row) for tensor in tensors for row in tensor.tolist())


# Generated sets.


@pytest.mark.parametrize(
    ("name", "states", "units", "image_shape"), [("shifter", 508, 32, (4, 8)), ("bars", 226, 16, (4, 4))]
)
def test_generated_sets(name: str, states: int, units: int, image_shape: tuple[int, int]) -> None:
    data = load_data(name)
    assert data.name == name
    assert data.image_shape == image_shape
    assert (data.train.shape, data.valid.shape, data.test.shape) == (
        (20000, units),
        (2000, units),
        (5000, units),
    )
    assert data.distribution is not None
    assert data.distribution.patterns.shape == (states, units)
    assert data.distribution.patterns.dtype == torch.float32
    assert data.distribution.probabilities.dtype == torch.float64
    assert float(data.distribution.probabilities.sum()) == pytest.approx(1, abs=1e-12)


def test_the_shifter_has_508_patterns_and_an_entropy_of_4_579165_nats() -> None:
    distribution = load_data("shifter").distribution
    assert distribution is not None
    assert len(rows(distribution.patterns)) == 508
    assert distribution.entropy == pytest.approx(4.579165, abs=1e-6)


@pytest.mark.parametrize("name", GENERATED)
@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_draws_agree_with_the_exact_distribution(name: str, part: str) -> None:
    """Each frequency that expects 10 draws or more is within 5 standard errors, the mean -log p within 4."""
    data = load_data(name)
    assert data.distribution is not None
    draws = getattr(data, part)
    counts = rows(draws)
    states = [tuple(pattern) for pattern in data.distribution.patterns.tolist()]
    assert counts.keys() <= set(states)

    p = data.distribution.probabilities.numpy()
    count = np.array([counts[state] for state in states])
    n = len(draws)
    z = (count - n * p) / np.sqrt(n * p * (1 - p))
    assert np.abs(z[n * p >= 10]).max() < 5

    surprise = np.repeat(-np.log(p), count)
    assert abs(surprise.mean() - data.distribution.entropy) < 4 * surprise.std() / np.sqrt(n)


def test_train_valid_and_test_are_different_draws() -> None:
    data = load_data("shifter")
    assert not torch.equal(data.train[:2000], data.valid)
    assert not torch.equal(data.train[:5000], data.test)
    assert not torch.equal(data.valid, data.test[:2000])


@pytest.mark.parametrize("name", [*GENERATED, "digits"])
def test_the_same_call_gives_the_same_numbers(name: str) -> None:
    first, again = load_data(name), load_data(name)
    torch.manual_seed(7)  # nor do they hang on torch's generator
    other = load_data(name)
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(first, part), getattr(again, part))
        assert torch.equal(getattr(first, part), getattr(other, part))


@pytest.mark.parametrize("name", [*GENERATED, "digits"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_0_and_1_in_the_dtype_asked_for(name: str, dtype: torch.dtype) -> None:
    data = load_data(name, dtype=dtype)
    for x in (data.train, data.valid, data.test):
        assert x.dtype == dtype
        assert {value for row in rows(x) for value in row} == {0, 1}
    assert data.distribution is None or data.distribution.patterns.dtype == dtype


# scikit-learn's digits.


def test_digits_are_scikit_learns_thresholded_at_half_of_the_maximum() -> None:
    data = load_data("digits")
    assert data.image_shape == (8, 8)
    assert data.distribution is None
    assert (data.train.shape, data.valid.shape, data.test.shape) == ((1257, 64), (180, 64), (360, 64))
    expected = (load_digits().data >= 8)[np.random.default_rng(0).permutation(1797)]
    assert torch.equal(torch.cat([data.train, data.valid, data.test]), torch.from_numpy(expected).float())


# Names in the folder PYRO_HELM_DATA.


def test_a_published_split_is_kept_as_it_is(folder: Path) -> None:
    parts = {"train": binary(9, 5, 1), "valid": binary(4, 5, 2), "test": binary(6, 5, 3)}
    np.savez(folder / "survey.npz", **parts, train_labels=np.arange(9), names=np.array(list("abcde")))  # type: ignore[arg-type]
    data = load_data("survey")
    assert data.name == "survey"
    assert data.image_shape is None
    assert data.distribution is None
    for part, array in parts.items():
        assert getattr(data, part).tolist() == array.tolist()


def test_valid_is_carved_off_train_where_there_is_none(folder: Path) -> None:
    train, test = binary(40, 10, 1), binary(6, 10, 2)
    np.savez(folder / "scenes.npz", train=train, test=test)
    data = load_data("scenes")
    order = np.random.default_rng(0).permutation(40)
    assert data.train.tolist() == train[order[:35]].tolist()
    assert data.valid.tolist() == train[order[35:]].tolist()
    assert data.test.tolist() == test.tolist()


def test_x_is_split_70_10_20_disjoint_and_complete(folder: Path) -> None:
    x = binary(100, 12)
    np.savez(folder / "votes.npz", X=x, observed=x, names=np.array(["a"]))
    data = load_data("votes")
    assert [len(part) for part in (data.train, data.valid, data.test)] == [70, 10, 20]
    assert rows(data.train, data.valid, data.test) == rows(torch.from_numpy(x))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("bmnist", (28, 28)),
        ("caltech101_silhouettes_28", (28, 28)),
        ("semeion", (16, 16)),
        ("ocr_letters", (16, 8)),
    ],
)
def test_the_image_shapes_of_published_pictures_are_known(folder: Path, name: str, shape: tuple[int, int]) -> None:
    np.savez(folder / f"{name}.npz", X=binary(5, shape[0] * shape[1]))
    assert load_data(name).image_shape == shape
    np.savez(folder / f"{name}.npz", X=binary(5, 7))  # another set of the same name
    assert load_data(name).image_shape is None
    np.savez(folder / f"{name}.npz", X=binary(5, 6), image_shape=np.array([2, 3]))
    assert load_data(name).image_shape == (2, 3)


def test_a_generated_set_goes_before_a_file_of_its_name(folder: Path) -> None:
    np.savez(folder / "bars.npz", X=binary(10, 3))
    assert load_data("bars").train.shape == (20000, 16)
    assert load_data(folder / "bars.npz").train.shape == (7, 3)
    assert available_data().query("here")["name"].tolist() == ["shifter", "bars", "digits"]


def test_an_unknown_name_is_refused_with_the_known_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(folder / "survey.npz", X=binary(10, 3))
    unknown = (
        r"^unknown data set 'survei'; did you mean survey\? Known are shifter, bars, digits, survey.*PYRO_HELM_DATA"
    )
    with pytest.raises(ValueError, match=unknown):
        load_data("survei")
    monkeypatch.delenv("PYRO_HELM_DATA")
    with pytest.raises(ValueError, match=r"^unknown data set 'survey'; known are .*a \.npz, \.npy or \.csv file"):
        load_data("survey")
    with pytest.raises(ValueError, match=r"'shift'; did you mean shifter\?"):
        load_data("shift")


def test_a_home_folder_that_is_not_there_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="that user has no home folder"):
        load_data("~nobody_of_this_name/x.npy")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRO_HELM_DATA", str(tmp_path / "gone"))
    for call in (lambda: load_data("survey"), available_data):
        with pytest.raises(FileNotFoundError, match=r"^PYRO_HELM_DATA is '.*gone', expected an existing folder$"):
            call()
    assert load_data("bars").name == "bars"  # which needs no folder


# A user's own files.


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv"])
@settings(max_examples=25, deadline=None)
@given(x=hnp.arrays(np.uint8, st.tuples(st.integers(3, 12), st.integers(1, 6)), elements=st.integers(0, 1)))
def test_any_small_array_makes_the_round_trip(suffix: str, x: NDArray[np.uint8]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"mine{suffix}"
        if suffix == ".npz":
            np.savez(path, X=x)
        elif suffix == ".npy":
            np.save(path, x)
        else:
            names = ",".join(f"unit{k}" for k in range(x.shape[1]))  # narrow data could else be taken for names
            np.savetxt(path, x, fmt="%d", delimiter=",", header=names, comments="")
        data = load_data(path)
    assert data.name == "mine"
    loaded = torch.cat([data.train, data.valid, data.test])
    assert loaded.tolist() == x[np.random.default_rng(0).permutation(len(x))].tolist()


def test_a_path_may_be_a_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "mine.npy", binary(10, 3))
    monkeypatch.chdir(tmp_path)
    for path in ("mine.npy", "./mine.npy", str(tmp_path / "mine.npy")):
        assert load_data(path).train.shape == (7, 3)


def test_a_path_is_never_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path("bars"), "./bars", "missing.csv", "folder/missing"):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            load_data(path)
    with pytest.raises(ValueError, match="is a folder"):
        load_data(str(tmp_path))


def test_errors_of_a_file_come_through(tmp_path: Path) -> None:
    np.savez(tmp_path / "faces.npz", train=binary(5, 3), test=np.array([[0, 1]]))
    sentence = "faces.npz: array 'test' has width 2, expected 3 columns"
    with pytest.raises(ValueError, match=f"{re.escape(sentence)}$"):
        load_data(tmp_path / "faces.npz")
    (tmp_path / "pair.csv").write_text("1,1\n1,0\n")
    with pytest.raises(ValueError, match=r"pair\.csv has too few rows to split: 2, expected at least 3$"):
        load_data(tmp_path / "pair.csv")


# The listing.


def test_the_listing_agrees_with_what_is_loaded(folder: Path) -> None:
    np.savez(folder / "votes.npz", X=binary(35, 4), y=np.array(3))
    np.savez(folder / "scenes.npz", train=binary(16, 5), test=binary(3, 5), image_shape=np.array([1, 5]))
    np.savez(folder / "survey.npz", train=binary(9, 6), valid=binary(2, 6), test=binary(3, 6))
    table = available_data().query("here")
    assert table["name"].tolist() == ["shifter", "bars", "digits", "scenes", "survey", "votes"]
    assert table["source"].tolist() == ["generated"] * 2 + ["scikit-learn"] + ["file"] * 3
    for row in table.to_dict("records"):
        data = load_data(str(row["name"]))
        assert (row["train"], row["units"]) == data.train.shape
        assert (row["valid"], row["units"]) == data.valid.shape
        assert (row["test"], row["units"]) == data.test.shape
        if data.distribution is None:
            assert np.isnan(row["entropy"])
        else:
            assert row["entropy"] == pytest.approx(data.distribution.entropy, abs=1e-12)


def test_one_bad_file_does_not_spoil_the_listing(folder: Path) -> None:
    (folder / "broken.npz").write_text("no archive")
    np.savez(folder / "flat.npz", X=np.zeros(5))
    np.savez(folder / "other.npz", Y=binary(5, 5))
    (folder / "folder.npz").mkdir()
    table = available_data().set_index("name").loc[["broken", "flat", "other", "folder"]]
    assert (table["source"] == "file").all()
    assert table[["units", "train", "valid", "test"]].isna().all(axis=None)


# Published data, on machines that have it.

PUBLISHED = {  # rows of train, valid, test, and units; parts that our rule cuts included
    "accidents": (12758, 1700, 2551, 111),
    "adult": (5000, 1414, 26147, 123),
    "arules_groceries": (6884, 984, 1967, 169),
    "baudio": (15000, 2000, 3000, 100),
    "bbc": (1670, 225, 330, 1058),
    "bmnist": (50000, 10000, 10000, 784),
    "bnetflix": (15000, 2000, 3000, 100),
    "caltech101_silhouettes_28": (4100, 2264, 2307, 784),
    "connect4": (16000, 4000, 47557, 126),
    "dna_nade": (1400, 600, 1186, 180),
    "house_votes_84": (304, 44, 87, 16),
    "mushrooms": (2000, 500, 5624, 112),
    "news20_w100": (11369, 1624, 3249, 100),
    "nips": (400, 100, 1240, 500),
    "nltcs": (16181, 2157, 3236, 16),
    "ocr_letters": (32152, 10000, 10000, 128),
    "semeion": (1115, 159, 319, 256),
    "spect_noisyor": (186, 27, 54, 23),
    "sun09_presence": (3821, 546, 4317, 111),
    "zoo": (70, 10, 21, 21),
}


@pytest.mark.skipif(not REAL_DATA, reason="PYRO_HELM_DATA is not set")
def test_every_published_set_in_the_folder_loads_as_listed() -> None:
    table = available_data().query("source == 'file'")
    for row in table.to_dict("records"):
        name = str(row["name"])
        data: Data = load_data(name)
        shape = (len(data.train), len(data.valid), len(data.test), data.train.shape[1])
        assert shape == (row["train"], row["valid"], row["test"], row["units"]), name
        assert shape == PUBLISHED.get(name, shape), name


def test_published_sets_are_listed_with_the_rows_that_they_have(folder: Path) -> None:
    table = available_data().set_index("name")
    for name, shape in PUBLISHED.items():
        assert tuple(table.loc[name, ["train", "valid", "test", "units"]]) == shape
        assert table.licence[name]
        assert table.what[name]
        assert not table.here[name]
    assert table.source["nltcs"] == "download"
    assert table.megabytes["nltcs"] == pytest.approx(0.690368)
    assert table.source["zoo"] == "by hand"


def test_a_published_set_in_the_folder_is_a_file_with_its_licence(folder: Path) -> None:
    np.savez(folder / "nltcs.npz", X=binary(20, 3))
    row = available_data().set_index("name").loc["nltcs"]
    assert (row.source, row.here, row.train) == ("file", True, 14)
    assert row.licence.startswith("none stated")
    assert row.megabytes == pytest.approx((folder / "nltcs.npz").stat().st_size / 1e6)
    assert load_data("nltcs").train.shape == (14, 3)
