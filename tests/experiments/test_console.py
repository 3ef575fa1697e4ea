"""Tables in the terminal: a row is a line, words go to standard error."""

from __future__ import annotations

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
