"""Comma-separated files: what the first line is, and where a flaw is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pyro_helm.data.files import read_file

GOOD = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1]], dtype=np.uint8)


def refused(path: Path, sentence: str) -> None:
    """Check that the whole error is this one sentence, which begins with the file."""
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}{sentence}')}$"):
        read_file(path)


@pytest.mark.parametrize(
    "text",
    [
        "0,1,1\n1,0,0\n0,0,1\n",
        "0,1,1\r\n1,0,0\r\n0,0,1",
        "a,b,c\n0,1,1\n1,0,0\n0,0,1\n",
        "\ufeffa,b,c\n0,1,1\n1,0,0\n0,0,1\n\n\n",
        '"0","1","1"\n 1 , 0,0\n0.0,0e0,1.0\n',
        "0,1,2\n0,1,1\n1,0,0\n0,0,1\n",
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
        ("a,b\n0,1\n1,2\n", ", line 3, column 2 (counted from 1) has '2', expected 0 or 1 (line 1 was read as names)"),
        ("1,1\n1,yes\n", ", line 2, column 2 (counted from 1) has 'yes', expected 0 or 1 (line 1 was read as data)"),
        ("1,1\nnan,1\n", ", line 2, column 1 (counted from 1) has 'nan', expected 0 or 1 (line 1 was read as data)"),
        (
            "1,1\n1,\n",
            ", line 2, column 2 (counted from 1) has an empty cell, expected 0 or 1 (line 1 was read as data)",
        ),
        ("0,0.5\n", ", line 1, column 2 (counted from 1) has '0.5', expected 0 or 1 (line 1 was read as data)"),
        # A first row of data with a flaw is not passed over as names.
        ("0,?\n1,1\n", ", line 1, column 2 (counted from 1) has '?', expected 0 or 1 (line 1 was read as data)"),
        (
            "1,\n1,1\n",
            ", line 1, column 2 (counted from 1) has an empty cell, expected 0 or 1 (line 1 was read as data)",
        ),
        ("?,?\n1,1\n", ", line 1 was read as names, but '?' stands in it twice, expected names that differ"),
        (
            "True,False\nTrue,True\n",
            ", line 2, column 1 (counted from 1) has 'True', expected 0 or 1 (line 1 was read as names)",
        ),
        (
            "0,0,1,2\n1,1,1,1\n",
            ", line 1, column 4 (counted from 1) has '2', expected 0 or 1 (line 1 was read as data)",
        ),
        ("1,2,3\n1,1,1\n", ", line 1, column 2 (counted from 1) has '2', expected 0 or 1 (line 1 was read as data)"),
        ("a,b\n0;1\n", ", line 2 has width 1, expected 2 cells as in line 1"),
        ("1,1\n1,0\n1\n", ", line 3 has width 1, expected 2 cells as in line 1"),
        ("1,1\n1,0,1\n", ", line 2 has width 3, expected 2 cells as in line 1"),
        ("1,1\n\n1,0\n", ", line 2 is blank, expected 2 cells of 0 or 1"),
        ("a,b\n", " has no rows of data, expected at least one of 0 and 1"),
        ("\n\n", " has no rows of data, expected at least one of 0 and 1"),
    ],
)
def test_a_csv_with_a_flaw_is_refused_with_its_line_and_column(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    refused(tmp_path / "x.csv", sentence)


def test_a_csv_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,1\n", encoding="utf-16")
    refused(tmp_path / "x.csv", " is not readable as text (byte 0xff), expected UTF-8")
    (tmp_path / "x.csv").write_text("0," + "1" * 200_000)
    reason = "field larger than field limit (131072)"
    refused(tmp_path / "x.csv", f" is not a readable .csv file ({reason}), expected cells of 0 or 1")


@pytest.mark.parametrize("text", ["0,1\n1,0\n0,0\n", "0\n1\n0\n", " 0, 1\n1,0\n"])
def test_a_first_line_that_may_be_names_or_data_is_refused(tmp_path: Path, text: str) -> None:
    """A frame of two columns without names is written with the first line 0,1, which is also a row of data."""
    (tmp_path / "x.csv").write_text(text)
    found = "0,1" if "," in text else "0"
    refused(
        tmp_path / "x.csv",
        f", line 1 is {found}, which may be names (pandas numbers columns so) or data; put a line of other names, such "
        "as a,b, in front of the data",
    )
    (tmp_path / "x.csv").write_text("a,b\n"[: 4 if "," in text else 1] + ("" if "," in text else "\n") + text)
    assert read_file(tmp_path / "x.csv")[0]["X"][0].tolist() == ([0, 1] if "," in text else [0])


@pytest.mark.parametrize("names", [["a", "b"], [0, 1], [0, 1, 2]])
def test_a_frame_s_index_does_not_become_a_unit(tmp_path: Path, names: list[str | int]) -> None:
    frame = pd.DataFrame(GOOD[:2, : len(names)], columns=names)  # of two rows, whose index is 0 and 1
    frame.to_csv(tmp_path / "x.csv")
    refused(
        tmp_path / "x.csv",
        ", line 1, column 1 (counted from 1) is an empty name, as pandas writes above an index; leave the column out, "
        "by to_csv(path, index=False), or name it",
    )


def test_an_index_that_pandas_read_as_a_column_does_not_become_a_unit(tmp_path: Path) -> None:
    pd.DataFrame(GOOD[:2, :2], columns=["a", "b"]).to_csv(tmp_path / "once.csv")
    pd.read_csv(tmp_path / "once.csv").to_csv(tmp_path / "x.csv", index=False)
    refused(
        tmp_path / "x.csv",
        ", line 1 begins with 'Unnamed: 0', as pandas names an index that it read as a column; leave the column out, "
        "by to_csv(path, index=False), or name it",
    )


def test_a_frame_written_without_its_index_is_read(tmp_path: Path) -> None:
    for columns in (["a", "b", "c"], [0, 1, 2]):
        pd.DataFrame(GOOD, columns=columns).to_csv(tmp_path / "x.csv", index=False)
        assert read_file(tmp_path / "x.csv")[0]["X"].tolist() == GOOD.tolist()
