"""A folder that holds results is gone on with by the same call, and refused where something would be lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pyro_helm as helm

QUICK: dict[str, Any] = {"sizes": (16, 3), "restarts": 1, "num_epochs": 1, "num_samples": 5, "progress": False}


@pytest.fixture(scope="module")
def bars() -> helm.Data:
    whole = helm.load_data("bars")
    return replace(whole, train=whole.train[:40], valid=whole.valid[:20], test=whole.test[:20])


def compare(data: helm.Data, out: Path, *schemes: str, **changed: Any) -> helm.Comparison:
    return helm.compare(data, schemes=schemes, out=out, **(QUICK | changed))


def test_a_comparison_goes_on_and_may_grow_but_leaves_nothing_out(bars: helm.Data, tmp_path: Path) -> None:
    compare(bars, tmp_path, "wake_sleep")
    before = pd.read_csv(tmp_path / "results.csv")
    compare(bars, tmp_path, "wake_sleep")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "results.csv"), before)
    with pytest.raises(ValueError, match="holds a comparison with sigmoid wake_sleep, which this one leaves out; ask"):
        compare(bars, tmp_path, "reinforce")
    with pytest.raises(ValueError, match=r"with other settings \(budget: 1 epochs there, 2 epochs here"):
        compare(bars, tmp_path, "wake_sleep", num_epochs=2)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "results.csv"), before)
    grown = compare(bars, tmp_path, "wake_sleep", "reinforce")
    assert set(pd.read_csv(tmp_path / "results.csv").scheme) == {*grown.summary.scheme} == {"wake_sleep", "reinforce"}


def test_runs_and_studies_keep_out_of_each_others_folders(bars: helm.Data, tmp_path: Path) -> None:
    model, guide = helm.BeliefNetwork((16, 3), seed=0), helm.FactorialRecognition((16, 3), seed=0)
    how: dict[str, Any] = {"scheme": helm.WakeSleep(), "num_epochs": 1, "progress": False}
    helm.fit(model, guide, bars.train, out=tmp_path / "fit", **how)
    with pytest.raises(ValueError, match=r"holds a run of fit \(config.json.*choose another out"):
        compare(bars, tmp_path / "fit", "wake_sleep")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text('{"name": "old", "runs": ["0123456789abcdef"]}')
    for resume in (False, True):
        with pytest.raises(ValueError, match="holds a study or a comparison"):
            helm.fit(model, guide, bars.train, out=tmp_path / "study", resume=resume, **how)
    other = helm.Study(tmp_path / "study", datasets=[bars], machines=["sigmoid 3"], schemes=["wake_sleep"], name="new")
    with pytest.raises(ValueError, match="holds the study 'old', of which no run is asked for"):
        other.run(workers=1, progress=False)
