"""Every script of the analysis folder runs, small."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import typer

import pyro_helm as helm
from analysis.schemes import schemes_of
from tests.analysis.running import run_script


def test_compare_prints_one_table_of_both_data_sets(tmp_path: Path) -> None:
    shown = run_script("analysis.compare", "--quick", "--out", tmp_path)
    lines = [line for line in shown.splitlines() if line.startswith((" shifter", " digits"))]
    assert len(lines) == 3 * 3 + 3
    assert "nats per datum" in shown
    for name, machines in (("shifter", 9), ("digits", 3)):
        summary = pd.read_csv(tmp_path / name / "summary.csv")
        assert len(summary) == machines
        assert (tmp_path / name / "learning_curves.png").stat().st_size > 0


def test_the_reproduction_of_the_paper_makes_every_figure_and_the_table(tmp_path: Path) -> None:
    shown = run_script("analysis.paper.reproduce", "--quick", "--threads", "1", "--out", tmp_path)
    for figure in ("fig1_shifter", "fig2_surface", "fig3_architecture", "fig4_weights"):
        assert (tmp_path / f"{figure}.png").stat().st_size > 0
    table = pd.read_csv(tmp_path / "table.csv").set_index("row")
    assert len(table) == 11
    assert table.solved.between(0, 1).all()
    assert table["median"].drop("set by hand, polished").max() < table["median"]["set by hand, polished"] < -4.579
    assert "best known" in shown
    machines = pd.read_parquet(tmp_path / "solutions.parquet")
    assert (machines.groupby("row").size() == 2).all()


def test_the_search_for_settings_tries_every_scheme_alike(tmp_path: Path) -> None:
    run_script("analysis.paper.settings_search", "--quick", "--schemes", "wake_sleep,mean_field", "--out", tmp_path)
    settings = pd.read_csv(tmp_path / "settings.csv")
    assert sorted(settings.scheme) == ["mean_field", "wake_sleep"]
    assert settings.drop(columns="scheme").notna().all(axis=None)


def test_errors_of_the_exact_bound_are_below_their_tolerances(tmp_path: Path) -> None:
    run_script("analysis.exact_mean_field", "--quick", "--out", tmp_path)
    table = pd.read_csv(tmp_path / "exact_mean_field.csv")
    assert set(table.imaging) == {"sigmoid", "noisy_or", "odds"}
    assert (table.error <= table.tolerance).all()
    assert (tmp_path / "exact_mean_field.png").stat().st_size > 0


def test_the_benchmark_of_the_product_prints_time_and_memory() -> None:
    shown = run_script("analysis.benchmarks.product_kernel", "--small", "--rounds", "1")
    for way in ("matmul", "fused", "blocks", "materialised"):
        assert way in shown
    assert "times a matmul" in shown


def test_likelihoods_sets_every_estimate_against_the_truth(tmp_path: Path) -> None:
    shown = run_script("analysis.likelihoods", "--quick", "--out", tmp_path / "likelihoods")
    assert "share of 95 % intervals that hold the exact log-likelihood" in shown
    table = pd.read_parquet(tmp_path / "likelihoods.parquet")
    assert len(table) == 2 * 4 + 4
    assert set(table.method) == {"importance", "ais"}
    assert table.error.abs().max() < 10
    assert (tmp_path / "likelihoods.png").stat().st_size > 0


def test_schemes_compares_all_of_them_at_equal_steps_and_equal_seconds(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="digits sigmoid 12-10 exact_em .*: exact EM would sum over"):
        shown = run_script("analysis.schemes", "--quick", "--out", tmp_path)
    assert "95 % interval" in shown
    summary = pd.read_csv(tmp_path / "summary.csv")
    for dataset, trained in (("bars", set(helm.SCHEMES)), ("digits", {"vimco", "reweighted_wake_sleep"})):
        for budget in ("equal steps", "equal seconds"):
            rows = summary[(summary.dataset == dataset) & (summary.budget == budget)]
            assert set(rows.scheme) == trained
    assert (summary[summary.scheme == "reweighted_wake_sleep"].difference == 0).all()
    assert (summary[summary.budget == "equal steps"].steps == 3).all()
    assert (tmp_path / "schemes.png").stat().st_size > 0


def test_schemes_can_be_chosen_and_the_reference_is_among_them() -> None:
    chosen = [scheme.name for scheme in schemes_of(3, "vimco,exact_em")]
    assert chosen == ["vimco", "reweighted_wake_sleep", "exact_em"]
    with pytest.raises(typer.BadParameter, match="unknown scheme 'vimcoo'; did you mean vimco"):
        schemes_of(3, "vimcoo")
