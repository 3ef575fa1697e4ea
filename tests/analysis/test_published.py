"""Study files of published tables, and the numbers that they are set beside."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import pyro_helm as helm
from analysis.published import shortfall, table
from analysis.published.table import HERE, beside_published, published
from pyro_helm.experiments.study_files import study_from_file


@pytest.mark.parametrize("file", sorted(HERE.glob("*.toml")), ids=lambda file: file.stem)
def test_a_study_file_of_a_published_table_says_what_a_study_takes(file: Path, tmp_path: Path) -> None:
    """But for the data, which are not here."""
    text = re.sub(r"^datasets = \[.*?\]$", 'datasets = ["bars"]', file.read_text(), flags=re.DOTALL | re.MULTILINE)
    (tmp_path / file.name).write_text(text)
    study = study_from_file(tmp_path / file.name)
    assert {run.labels["dataset"] for run in study.plan} == {"bars"}
    assert study.name
    assert study.question.endswith("?")


def test_each_published_number_says_where_it_was_read() -> None:
    numbers = published()
    assert not numbers[["dataset", "method", "value", "estimator", "source", "place"]].isna().any(axis=None)
    assert (numbers.value < 0).all()
    assert set(numbers.verified) == {"yes", "no"}
    assert not numbers[numbers.place.str.contains("memory")].verified.eq("yes").any()


def test_ours_stand_beside_verified_numbers_of_the_same_data_with_their_estimators() -> None:
    ours = pd.DataFrame(
        {
            "dataset": ["nltcs", "adult"],
            "scheme": "vimco",
            "machine": "sigmoid 100-50",
            "log_likelihood": [-5.9, -13.0],
            "stderr": 0.01,
            "estimator": ["exact", "importance"],
            "samples": 2000,
        }
    )
    both = beside_published(ours)
    assert both.method.tolist() == ["ours, vimco", "ours, vimco", "HCLT"]  # adult's are from memory
    assert both.estimator.tolist() == ["importance", "exact", "exact"]


def test_the_tables_of_a_trained_study_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    theirs = published().assign(dataset="bars")
    monkeypatch.setattr(table, "published", lambda: theirs)
    for script in (table, shortfall):
        monkeypatch.setattr(script, "HERE", tmp_path)
    study = helm.Study(
        tmp_path / "study",
        datasets=[{"data": "bars", "train": 60, "valid": 20, "test": 30}],
        machines=["sigmoid 3"],
        schemes=["vimco", "wake_sleep"],
        settings={"learning_rate": [0.01, 0.1]},
        budget="3 steps",
        restarts=1,
        scores={"num_samples": 7},
    )
    study.run(workers=1, progress=False)
    table.main("small", tmp_path / "study")
    shown = capsys.readouterr().out
    assert "ours, vimco" in shown
    assert "HCLT" in shown
    written = pd.read_csv(tmp_path / "results" / "small.csv")
    test = study.table().query("split == 'test' and metric == 'log_likelihood'").set_index("run")
    assert written.stderr.to_numpy() == pytest.approx(test.stderr[study.chosen().runs].to_numpy(), abs=1e-5)
    assert written[["settings_tried", "samples"]].to_numpy().tolist() == [[2, 7]] * 2
    assert written.estimator.tolist() == ["importance"] * 2

    shortfall.main("small", tmp_path / "study", num_data=5, schedule=5)
    best = pd.read_csv(tmp_path / "results" / "small-shortfall.csv")
    assert best.scheme.tolist() == [study.chosen().sort_values("valid_log_likelihood").scheme.iloc[-1]]
    assert best.shortfall.item() == pytest.approx((best.upper - best.importance).item(), abs=2e-4)


def test_a_machine_without_a_guide_is_scored_exactly_and_the_table_says_so(tmp_path: Path) -> None:
    study = helm.Study(
        tmp_path,
        datasets=[{"data": "bars", "train": 60, "valid": 20, "test": 30}],
        machines=[{"machine": "sigmoid/categorical 3", "guide": "none", "arguments": {"groups": {"h1": [3]}}}],
        schemes=["exact_em"],
        budget="3 steps",
        restarts=1,
    )
    study.run(workers=1, progress=False)
    found = table.ours(study)
    assert found.estimator.tolist() == ["exact"]
    assert found.samples.isna().all()
    bars = helm.load_data("bars").distribution  # scores are over all patterns where they are known
    assert bars is not None
    model, _ = study.machine(study.chosen().runs.item())
    exact = helm.log_likelihood(model, None, bars, method="exact")
    assert found.log_likelihood.item() == pytest.approx(exact.summary.log_likelihood.item(), abs=1e-4)
