"""Tables in the terminal: a row is a line, words go to standard error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch

import pyro_helm as helm
from pyro_helm.experiments.console import print_scores, print_table
from pyro_helm.models import BeliefNetwork


def test_numbers_have_three_digits_and_gaps_are_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(pd.DataFrame({"name": ["a", "b"], "value": [1.23456, None]}), "a title")
    title, _, _, _, first, second, *_ = capsys.readouterr().out.splitlines()
    assert title == "a title"
    assert first.split() == ["a", "1.235"]
    assert second.split() == ["b"]


def test_wide_tables_are_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(pd.DataFrame({f"a long name of a column {number}": [number] for number in range(20)}), "wide")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == 4


def test_warnings_of_scores_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    model = BeliefNetwork((3, 2), restarts=2, seed=0)
    with torch.no_grad():
        model.generative[0].weight_unconstrained[1] = torch.nan
    print_scores(helm.log_likelihood(model, None, torch.ones(2, 3), method="exact"), "scores")
    shown = capsys.readouterr()
    assert shown.err.startswith("restart 1: 100% of the data have no finite log-likelihood")
    assert "warnings" not in shown.out


def printed_at_80(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Print a table in a terminal of 80 columns; its lines."""
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)

    def lines(frame: pd.DataFrame, **how: Any) -> list[str]:
        print_table(frame, "a title", **how)
        return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()

    return lines


def test_in_a_narrow_terminal_a_comparison_has_all_its_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = {"log p median": -5.7381, "± s.e.": 0.0571, "log p best": -5.5891, "-F median": -6.5261, "s/restart": 4.2}
    labels = {"data": "shifter", "sizes": "32-24-2", "restarts": 8, "failed": 0}
    machines = [("sigmoid", "reweighted_wake_sleep"), ("noisy_or", "reinforce")]
    rows = [
        labels | {"imaging": imaging, "scheme": scheme} | {name: value + place for name, value in numbers.items()}
        for place, (imaging, scheme) in enumerate(machines)
    ]
    lines = printed_at_80(monkeypatch, capsys)(pd.DataFrame(rows).assign(another=[1.0, 2.0], more=["a_b", "c_d"]))
    assert max(map(len, lines)) <= 80
    assert lines[1] == "in all rows: data shifter, sizes 32-24-2, restarts 8, failed 0"
    shown = " ".join(lines)
    assert "wider terminal" not in shown
    assert all(word in shown for name in [*numbers, "another", "more"] for word in name.replace("/", "/ ").split())
    assert all(f"{value + place:.3f}" in shown for value in numbers.values() for place in (0, 1))


def test_what_has_no_room_is_named_and_licences_are_told_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {f"number {place}": [123456.789, 2.0] for place in range(9)}
    frame = pd.DataFrame({"name": ["one_set", "other"], **columns, "licence": ["GPL-3 or any later", "CC BY"]})
    lines = printed_at_80(monkeypatch, capsys)(frame, apart="licence")
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("one_set 123456.789 123456.789") for line in lines)
    assert lines[-3:] == [
        "in a wider terminal or a file also: number 6, number 7, number 8",
        "licence of one_set: GPL-3 or any later",
        "licence of other: CC BY",
    ]
