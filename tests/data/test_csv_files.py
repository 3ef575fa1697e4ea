"""Tables as people have them: what each column is read as, what the first line is, and where a flaw is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_helm as helm
from pyro_helm.data.csv_files import read_table
from pyro_helm.data.files import read_file

GOOD = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1]], dtype=np.uint8)
NAN = np.nan


def table(folder: Path, text: str, **settings: Any) -> helm.Table:
    (folder / "x.csv").write_bytes(text.encode())
    return read_table(folder / "x.csv", **settings)


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
        "0;1;1\n1;0;0\n0;0;1\n",
        "a\tb\tc\n0\t1\t1\n1\t0\t0\n0\t0\t1\n",
        "false,TRUE,1\ntrue,False,0\nFalse,false,1\n",
        "n,yes,t\ny,no,f\nn,no,t\n",
        ",a,b,c\n0,0,1,1\n1,1,0,0\n2,0,0,1\n",
        "person;a;b;c\nAnn;0;1;1\nBob;1;0;0\nCy;0;0;1\n",
    ],
)
def test_zeros_and_ones_are_read_however_they_are_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_bytes(text.encode())
    arrays, image_shape = read_file(tmp_path / "x.csv")
    assert arrays["X"].dtype == torch.uint8
    assert arrays["X"].tolist() == GOOD.tolist()
    assert image_shape is None


def test_every_column_is_what_its_cells_say(tmp_path: Path) -> None:
    text = 'id;party;"the; budget";age;left\n7;red;y;40;\n9;blue;?;NA;1\n4;"red";n;2.5;0\n5;;y;3;1\n'
    found = table(tmp_path, text)
    assert found.frame.columns.tolist() == ["party=blue", "party=red", "the; budget", "age", "left"]
    expected = [[0, 1, 1, 40, NAN], [1, 0, NAN, NAN, 1], [0, 1, 0, 2.5, 0], [NAN, NAN, 1, 3, 1]]
    np.testing.assert_array_equal(found.frame, expected)
    described = found.described().set_index("column")
    assert described.read_as.tolist() == [
        "names of the rows", "categories (blue, red)", "n and y (0 and 1)", "numbers", "0 and 1",
    ]  # fmt: skip
    assert described.missing.tolist() == [0, 1, 1, 1, 1]
    assert found.categories == {"party": ("party=blue", "party=red")}
    with pytest.raises(
        ValueError, match=r"groups need columns of two .*, but column 'the; budget' was read as n and y"
    ):
        _ = found.groups
    lines = str(found).splitlines()
    assert lines[0] == "Table of 4 rows and 5 units"
    assert max(map(len, lines)) <= 80


def test_groups_of_a_table_are_those_that_a_network_takes(tmp_path: Path) -> None:
    found = table(tmp_path, "eye,hair\nblue,red\ngreen,dark\nbrown,red\nblue,dark\n")
    assert found.groups == (3, 2)
    model = helm.BeliefNetwork((found.frame.shape[1], 2), visible="categorical", groups=found.groups, seed=0)
    assert np.isfinite(helm.log_likelihood(model, None, found.frame, method="exact").table.log_likelihood).all()


def test_decimal_commas_are_numbers_where_no_comma_separates(tmp_path: Path) -> None:
    found = table(tmp_path, "size;weight;kind\n1,5;2;a,b\n-2,25;3;c\n?;0,5;c\n")
    np.testing.assert_array_equal(found.frame[["size", "weight"]], [[1.5, 2], [-2.25, 3], [NAN, 0.5]])
    assert found.described().read_as.tolist()[:2] == ["numbers (with decimal commas)"] * 2
    assert found.categories == {"kind": ("kind=a,b", "kind=c")}
    with pytest.raises(ValueError, match=r"has '1,5' in a column of numbers"):  # either may be the flaw
        table(tmp_path, "size;x\n1,5;0\n1.5;1\n2,5;1\n2,5;1\n")


def test_data_of_a_file_are_loaded_as_the_table_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("person;a;b\n" + "".join(f"{k};{k % 2};{-9 if k % 3 else 1}\n" for k in range(20)))
    given = helm.load_data(tmp_path / "x.csv", index="person", missing=["-9"], header=True)
    assert given.unit_names == ("a", "b")
    assert given.train[:, 1].nansum() == (~given.train[:, 1].isnan()).sum()
    written = helm.load_data(f"{tmp_path}/x.csv index=person missing=-9 header=true")
    assert torch.equal(given.train.nan_to_num(7), written.train.nan_to_num(7))
    with pytest.raises(ValueError, match=r"missing=MARKERS, index=COLUMN and header=true or false, got 'marker=-9'"):
        helm.load_data(f"{tmp_path}/x.csv marker=-9")
    with pytest.raises(ValueError, match=r"index are for a \.csv file, got 'bars'"):
        helm.load_data("bars", index="person")


def test_data_of_numbers_print_from_where_to_where_they_go(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{30 + k},{k % 2}\n" for k in range(20)))
    assert "of the train values the least is 0, the largest" in " ".join(
        str(helm.load_data(tmp_path / "x.csv")).split()
    )
    assert "% are 1" in str(helm.load_data("bars"))


def test_a_first_line_of_categories_is_data_if_they_come_again(tmp_path: Path) -> None:
    found = table(tmp_path, "republican,n,y\ndemocrat,?,y\nrepublican,y,n\n")
    assert not found.has_names
    np.testing.assert_array_equal(found.frame, [[0, 1, 0, 1], [1, 0, NAN, 1], [0, 1, 1, 0]])
    assert table(tmp_path, "party,vote\nred,n\nblue,y\n").has_names
    assert len(table(tmp_path, "red,blue\ngreen,red\n", header=False).frame) == 2


def test_markers_and_the_index_can_be_named(tmp_path: Path) -> None:
    text = "a,key,b\n1,5,0\n-,6,1\n0,7,1\n"
    with pytest.raises(ValueError, match=r"line 3, column 1 \(a\) has '-' in a column of numbers"):
        table(tmp_path, text)
    found = table(tmp_path, text, missing=["-"], index="key")
    np.testing.assert_array_equal(found.frame, [[1, 0], [NAN, 1], [0, 1]])
    with pytest.raises(ValueError, match="has no column 'keys' for the names of its rows; it has a, key, b"):
        table(tmp_path, text, index="keys")


@pytest.mark.parametrize("names", [["a", "b"], [0, 1], [0, 1, 2]])
def test_a_frame_s_index_does_not_become_a_unit(tmp_path: Path, names: list[str | int]) -> None:
    frame = pd.DataFrame(GOOD[:, : len(names)], columns=names)
    frame.to_csv(tmp_path / "x.csv")
    assert read_file(tmp_path / "x.csv")[0]["X"].tolist() == frame.to_numpy().tolist()
    pd.read_csv(tmp_path / "x.csv").to_csv(tmp_path / "again.csv", index=False)  # its first column is "Unnamed: 0"
    assert read_file(tmp_path / "again.csv")[0]["X"].tolist() == frame.to_numpy().tolist()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n\n", " has no rows of data, expected at least one"),
        (
            "1,1\n1,yes\n",
            ", line 2, column 2 has 'yes' in a column of numbers, expected a number or a marker of missing values "
            "(line 1 was read as data)",
        ),
        (
            "a,b\n0,1\n1O,1\n",
            ", line 3, column 1 (a) has '1O' in a column of numbers, expected a number or a marker of missing values "
            "(line 1 was read as names)",
        ),
        ("a,b\n0,1e999\n", ", line 2, column 2 (b) has '1e999', expected a finite number (line 1 was read as names)"),
        ("a,a\n1,1\n", ", line 1 was read as names, but 'a' stands in it twice, expected names that differ"),
        ("a,\n1,1\n", ", line 1, column 2 (counted from 1) is an empty name; name it"),
        ("a,b\n0;1\n", ", line 2 has 1 of 2 cells, expected as many as in line 1"),
        ("1,1\n1,0\n1\n", ", line 3 has 1 of 2 cells, expected as many as in line 1"),
        ("1,1\n\n1,0\n", ", line 2 is blank, expected 2 cells"),
        ("a,b\n", " has no rows of data, expected at least one"),
    ],
)
def test_a_flaw_is_refused_with_its_line_and_column(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    refused(tmp_path / "x.csv", sentence)


def test_a_line_of_more_cells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a readable .csv file .*line 2, saw 3"):
        table(tmp_path, "1,1\n1,0,1\n")


def test_a_csv_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,1\n", encoding="utf-16")
    refused(tmp_path / "x.csv", " is not readable as text (byte 0xff), expected UTF-8")
    with pytest.raises(ValueError, match="begins a column of 300 different texts, more than 200 categories; give its"):
        table(tmp_path, "a,b\n" + "".join(f"1,word{k}\n" for k in range(300)))


@pytest.mark.parametrize("text", ["0,1\n1,0\n0,0\n", "0\n1\n0\n", " 0, 1\n1,0\n"])
def test_a_first_line_that_may_be_names_or_data_is_refused(tmp_path: Path, text: str) -> None:
    """A frame of two columns without names is written with the first line 0,1, which is also a row of data."""
    found = "0,1" if "," in text else "0"
    with pytest.raises(ValueError, match=f"line 1 is {found}, which may be names .*, or say which by header="):
        table(tmp_path, text)
    assert table(tmp_path, text, header=False).frame.iloc[0].tolist() == ([0, 1] if "," in text else [0])
    assert len(table(tmp_path, text, header=True).frame) == text.count("\n") - 1


def test_a_csv_is_loaded_with_its_names_and_missing_values(tmp_path: Path) -> None:
    parties = ["", "left", "right", "left"]
    rows = "".join(f"{parties[k % 4]},{k % 3 == 0},{'' if k % 4 else 1}\n" for k in range(20))
    (tmp_path / "votes.csv").write_text("party,budget,aid\n" + rows)
    data = helm.load_data(tmp_path / "votes.csv")
    assert data.unit_names == ("party=left", "party=right", "budget", "aid")
    assert bool(data.train.isnan().any())
    assert data.train.dtype == torch.float32
    with pytest.raises(ValueError, match="has missing values, which are NaN and so need a floating-point dtype"):
        helm.load_data(tmp_path / "votes.csv", dtype=torch.uint8)
