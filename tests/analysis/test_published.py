"""Study files of published tables, and the numbers that they are set beside."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

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
            "log_likelihood_stderr": 0.01,
        }
    )
    table = beside_published(ours)
    assert table.method.tolist() == ["ours, vimco", "ours, vimco", "HCLT"]  # adult's are from memory
    assert table.estimator.tolist() == ["importance", "importance", "exact"]
