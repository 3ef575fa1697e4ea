"""The script that solves the shifter runs the call of the page, counts what it says, and goes on with its table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

import pyro_helm as helm
from analysis.paper.best_known import by_hand
from analysis.paper.shifter_training import new_machine
from analysis.paper.solve_shifter import VARIANTS, has_all_pairs, main, solve
from tests.analysis.running import ROOT


def test_a_machine_set_by_hand_has_a_unit_for_every_pair() -> None:
    model, _ = by_hand(2)
    assert has_all_pairs(model).tolist() == [True, True]
    with torch.no_grad():
        model.generative[0].weight_unconstrained[0, 3] = -5
    assert has_all_pairs(model).tolist() == [False, True]
    assert not has_all_pairs(new_machine(2, seed=0)[0]).any()


def test_the_page_shows_the_call_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(helm, "fit_in_stages", lambda *programs, **settings: called.append((programs, settings)))
    solve(restarts=32)
    (code,) = re.findall(r"## The shifter, solved.*?```python\n(.*?)```", (ROOT / "docs/stages.md").read_text(), re.S)
    exec(code, {})
    (ours, settings), (theirs, told) = called
    for program, shown in zip(ours[:2], theirs[:2], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(program.parameters(), shown.parameters(), strict=True))
        assert program.config == shown.config
    plans = [[vars(stage) | {"scheme": vars(stage.scheme)} for stage in each["stages"]] for each in (settings, told)]
    assert plans[0] == plans[1]
    assert settings.keys() == told.keys()


def test_a_variant_that_the_table_has_is_left_as_it_is(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    command = ["--quick", "--restarts", "2", "--variants", "the call", "--out", str(tmp_path)]
    assert "the call" in CliRunner().invoke(app, command).output
    table = pd.read_csv(tmp_path / "solve_shifter.csv")
    assert table[["variant", "seed", "restarts"]].to_numpy().tolist() == [["the call", 0, 2]]
    assert CliRunner().invoke(app, command).output == ""


def test_the_page_shows_the_table_that_is_kept() -> None:
    page = (ROOT / "docs/paper.md").read_text()
    for row in pd.read_csv(ROOT / "analysis/paper/tables/solve_shifter.csv").to_dict("records"):
        shown = (
            f"| {row['variant']} | {row['seed']} | {row['restarts']} | "
            f"{row['solved']} ({100 * row['solved'] / row['restarts']:.0f} %) | "
            f"{row['log_likelihood_median']:.3f} | {row['log_likelihood_worst']:.3f} |"
        )
        assert shown in page
        assert row["variant"] in VARIANTS
