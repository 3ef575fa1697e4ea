from __future__ import annotations

import math
import re

import pytest
import torch

from pyro_helm.data.checks import check_binary


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64])
def test_zeros_and_ones_of_any_dtype_pass(dtype: torch.dtype) -> None:
    check_binary(torch.tensor([[0, 1, 1], [1, 0, 0]], dtype=dtype), name="x", width=3)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.zeros(3), "train has shape (3,), expected two dimensions [data, units]"),
        (torch.zeros(1, 2, 3), "train has shape (1, 2, 3), expected two dimensions [data, units]"),
        (torch.zeros(0, 3), "train has shape (0, 3), expected at least one row and one column"),
        (torch.zeros(3, 0), "train has shape (3, 0), expected at least one row and one column"),
        (torch.zeros(2, 4), "train has width 4, expected 3 columns"),
        (
            torch.tensor([[0, 1, 0], [1, 0, 2]]),
            "train has 2 at row 1, column 2 (counted from 0), expected 0 or 1",
        ),
        (torch.tensor([[0, -1, 0]]), "train has -1 at row 0, column 1 (counted from 0), expected 0 or 1"),
        (torch.tensor([[0.5, 1, 0]]), "train has 0.5 at row 0, column 0 (counted from 0), expected 0 or 1"),
        (
            torch.tensor([[1, math.nan, 7]]),
            "train has nan at row 0, column 1 (counted from 0), expected 0 or 1",
        ),
        (
            torch.tensor([[1, 0, math.inf]]),
            "train has inf at row 0, column 2 (counted from 0), expected 0 or 1",
        ),
    ],
)
def test_anything_else_is_refused_in_one_sentence(x: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        check_binary(x, name="train", width=3)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.eye(3).to_sparse(), "is a sparse or nested tensor, expected a dense one"),
        (torch.zeros(2, 3, device="meta"), "is on device 'meta', which holds no numbers"),
        (torch.zeros(2, 3, dtype=torch.complex64), "has complex numbers, expected 0 or 1"),
    ],
)
def test_tensors_that_hold_no_real_numbers_in_rows_are_refused(x: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^train {sentence}"):
        check_binary(x, name="train", width=3)


def test_an_array_is_no_tensor() -> None:
    with pytest.raises(ValueError, match=r"^x is of type ndarray, expected a torch\.Tensor$"):
        check_binary(torch.zeros(1, 1).numpy(), name="x")  # type: ignore[arg-type]
