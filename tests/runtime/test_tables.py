"""Tidy tables: fixed columns, the same in Parquet and CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.tables import COLUMNS, tidy, write_table
from pyro_helm.training.history import describe_machine


def test_columns_are_those_of_the_design_in_their_order() -> None:
    table = tidy([{"value": 1.0, "scheme": "reinforce"}])
    assert list(table.columns) == COLUMNS
    assert table.scheme.item() == "reinforce"
    assert tidy([]).empty


def test_parquet_and_csv_hold_the_same(tmp_path: Path) -> None:
    table = tidy([{"metric": "elbo", "value": -1.25, "restart": 0}, {"metric": "elbo", "value": -2.5, "restart": 1}])
    write_table(table, tmp_path / "deep" / "results")
    parquet = pd.read_parquet(tmp_path / "deep" / "results.parquet")
    csv = pd.read_csv(tmp_path / "deep" / "results.csv")
    assert parquet.value.tolist() == csv.value.tolist() == [-1.25, -2.5]
    assert list(parquet.columns) == list(csv.columns) == COLUMNS


@pytest.mark.parametrize(
    ("imaging", "described"),
    [("odds", "odds"), (("odds", "odds", "odds"), "odds"), (("odds", "odds", "sigmoid"), "odds/odds/sigmoid")],
)
def test_a_machine_is_described_by_its_imaging_models_and_sizes(imaging: str | tuple[str, ...], described: str) -> None:
    model = BeliefNetwork((6, 4, 2), imaging)
    assert describe_machine(model) == {"model": "BeliefNetwork", "imaging": described, "sizes": "6-4-2"}
    assert describe_machine(object()) == {"model": "object", "imaging": "", "sizes": ""}
