"""Cards of results: 80 columns whatever the names and values, warnings below the table, HTML that is escaped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pyro_helm.runtime.pictures import images_svg, lines_svg
from pyro_helm.runtime.shown import ROWS, WIDTH, Card, as_html, as_text, grouped_warnings, in_digits, shortened

LONG = "a name of many words " * 20
WIDE = pd.DataFrame({f"column {number} {LONG}": [LONG, "b"] for number in range(12)})
NUMBERS = pd.DataFrame({"restart": [0, 1], "value": [-1.23456, np.nan], "failed": [False, True]})


@pytest.mark.parametrize(
    "card",
    [
        Card(LONG, [LONG], WIDE, [LONG]),
        Card("x" * 300, ["y" * 300], pd.DataFrame({"z" * 300: ["z" * 300], "v": [-1e300]}), ["w" * 300]),
        Card("numbers", table=pd.DataFrame({f"n{number}": [-123456.789] for number in range(30)})),
    ],
    ids=["words", "without a space", "many numbers"],
)
def test_no_line_is_wider_than_a_terminal(card: Card) -> None:
    assert all(len(line) <= WIDTH for line in as_text(card).splitlines())


def test_columns_without_room_are_named_and_the_first_ones_kept() -> None:
    lines = as_text(Card("numbers", table=pd.DataFrame({f"n{number}": [-123456.789] for number in range(30)})))
    assert lines.splitlines()[1].split()[:2] == ["n0", "n1"]
    assert "not shown: n6, " in lines


def test_a_table_has_numbers_of_three_digits_words_at_the_left_and_warnings_below() -> None:
    title, names, first, second, note = as_text(Card("title", (), NUMBERS, ["beware"])).splitlines()
    assert (title, note) == ("title", "! beware")
    assert names.split() == ["restart", "value", "failed"]
    assert first.split() == ["0", "-1.235", "no"]
    assert second.split() == ["1", "nan", "yes"]


def test_of_many_rows_the_first_are_shown_and_the_others_counted() -> None:
    lines = as_text(Card("title", table=pd.DataFrame({"restart": range(1000)}))).splitlines()
    assert len(lines) == ROWS + 3
    assert lines[-1].strip() == f"... and {1000 - ROWS} more rows"


def test_text_is_ascii_where_its_names_are() -> None:
    assert as_text(Card("title", ["-1.2 ± 0.3"], NUMBERS, ["0.1 ± 0.2"])).isascii()


def test_warnings_that_differ_in_numbers_alone_are_one() -> None:
    warnings = [(0, "3 of 9 are bad"), (1, ""), (2, "4 of 9 are bad"), (3, "other")]
    assert grouped_warnings(warnings) == ["restart 0: 3 of 9 are bad (likewise restart 2)", "restart 3: other"]


def test_of_many_unlike_warnings_the_rest_is_counted() -> None:
    notes = grouped_warnings([(number, "x" * (number + 1)) for number in range(10)], most=3)
    assert len(notes) == 4
    assert "7 more" in notes[-1]


def test_a_long_name_keeps_both_ends() -> None:
    assert shortened("the first and the last words of it", 15) == "the fi... of it"
    assert len(shortened("x" * 99, 15)) == 15


@pytest.mark.parametrize(("value", "shown"), [(-7.0, "-7.000"), (0.0, "0.000"), (2e-9, "2e-09"), (-np.inf, "-inf")])
def test_a_number_says_something_at_any_size(value: float, shown: str) -> None:
    assert in_digits(value) == shown


def test_html_has_the_table_and_escapes_every_text() -> None:
    evil = "<script>alert(1)</script>"
    html = as_html(Card(evil, [evil], pd.DataFrame({evil: [evil], "value": [-1.23456]}), [evil]))
    assert "<script>" not in html
    assert "-1.235" in html
    assert html.count("<td>") == 2


def test_a_picture_of_lines_leaves_out_what_is_not_finite_and_escapes_names() -> None:
    x, y = np.arange(4.0), np.array([np.nan, -3.0, -2.0, -1.0])
    svg = lines_svg({"<b>": (x, y), "empty": (x, np.full(4, np.nan))}, "nats")
    assert svg.count("<polyline") == 1
    assert "nan" not in svg
    assert "&lt;b&gt;" in svg
    assert "-1.00" in svg
    assert lines_svg({"one point": (x[:1], y[1:2])}, "nats") == ""


def test_a_picture_of_images_has_a_square_for_each_dark_pixel() -> None:
    svg = images_svg(np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]]))
    assert svg.count("h1v1h-1z") == 3
    assert svg.count("<rect") == 2
