from __future__ import annotations

import re

import numpy as np
import pytest

from pyro_helm.data.splits import PARTS, split_rows


@pytest.mark.parametrize("num_rows", [10, 90, 101, 1797])
def test_x_is_permuted_and_cut_at_70_and_80_percent(num_rows: int) -> None:
    order = np.random.default_rng(0).permutation(num_rows)
    first, second = num_rows * 7 // 10, num_rows * 8 // 10
    plan = split_rows({"X": num_rows}, where="x.npy")
    assert [plan[part][0] for part in PARTS] == ["X", "X", "X"]
    assert plan["train"][1].tolist() == order[:first].tolist()
    assert plan["valid"][1].tolist() == order[first:second].tolist()
    assert plan["test"][1].tolist() == order[second:].tolist()


@pytest.mark.parametrize("num_rows", range(3, 30))
def test_the_parts_of_x_are_disjoint_complete_and_never_empty(num_rows: int) -> None:
    parts = [rows for _, rows in split_rows({"X": num_rows}, where="x.npy").values()]
    assert all(len(rows) for rows in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_rows))


@pytest.mark.parametrize(("num_rows", "kept"), [(2, 1), (7, 6), (8, 7), (4367, 3821)])
def test_without_valid_an_eighth_of_the_permuted_train_rows_becomes_it(num_rows: int, kept: int) -> None:
    order = np.random.default_rng(0).permutation(num_rows)
    plan = split_rows({"train": num_rows, "test": 4}, where="x.npz")
    assert plan["train"][0] == plan["valid"][0] == "train"
    assert plan["train"][1].tolist() == order[:kept].tolist()
    assert plan["valid"][1].tolist() == order[kept:].tolist()
    assert plan["test"][0] == "test"
    assert plan["test"][1].tolist() == [0, 1, 2, 3]


def test_a_published_split_is_kept_in_order_and_x_beside_it_is_ignored() -> None:
    plan = split_rows({"train": 3, "valid": 2, "test": 1, "X": 9}, where="x.npz")
    assert {part: (key, rows.tolist()) for part, (key, rows) in plan.items()} == {
        "train": ("train", [0, 1, 2]),
        "valid": ("valid", [0, 1]),
        "test": ("test", [0]),
    }


@pytest.mark.parametrize(
    ("num_rows", "sentence"),
    [
        ({"X": 2}, "x.npz has too few rows to split: 2, expected at least 3"),
        ({"train": 1, "test": 5}, "x.npz: array 'train' has too few rows to split: 1, expected at least 2"),
        (
            {"train": 5, "X": 5},
            "x.npz has the arrays ['train', 'X'], expected train and test (valid may be missing), or X alone",
        ),
        ({}, "x.npz has the arrays [], expected train and test (valid may be missing), or X alone"),
    ],
)
def test_what_cannot_be_split_is_refused(num_rows: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        split_rows(num_rows, where="x.npz")
