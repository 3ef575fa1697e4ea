"""Frames: one row per restart and datum, means and their errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_helm.likelihoods.score_tables import mean, per_restart_and_datum, stderr_of_mean, summarise

LOG_P = torch.tensor([[-1.0, -2.0, -6.0], [-4.0, -4.0, -4.0]])
COLUMNS = {"log_likelihood": LOG_P, "stderr": torch.full((2, 3), 0.3), "ess": torch.tensor([[50.0, 60, 90]] * 2)}


def test_a_row_is_a_restart_and_a_datum() -> None:
    table = per_restart_and_datum(COLUMNS)
    assert table.columns.tolist() == ["restart", "datum", "log_likelihood", "stderr", "ess"]
    assert table.iloc[2].tolist() == pytest.approx([0, 2, -6.0, 0.3, 90.0])


def test_a_summary_has_means_and_of_sample_sizes_the_median() -> None:
    summary = summarise(per_restart_and_datum(COLUMNS), None, "exact", 0)
    assert summary.log_likelihood.tolist() == [-3.0, -4.0]
    assert summary["mean"].tolist() == [-3.0, -4.0]
    assert summary.ess.tolist() == [60.0, 60.0]
    assert summary.warnings.tolist() == ["", ""]
    estimates = COLUMNS | {"khat": torch.zeros(2, 3), "bound_half": LOG_P}
    unseen = summarise(
        per_restart_and_datum(estimates), None, "importance", 100, torch.tensor([[False] * 3, [True, False, False]])
    )
    assert unseen.warnings[0] == ""
    assert "on 1 of 3 data the guide gives probability zero" in unseen.warnings[1]


def test_errors_are_those_of_cases_or_of_samples() -> None:
    values, stderr = LOG_P[0].numpy(), np.array([0.1, 0.2, 0.2])
    assert mean(values, None) == pytest.approx(-3)
    assert stderr_of_mean(values, stderr, None) == pytest.approx(values.std(ddof=1) / 3**0.5)
    weights = np.array([0.5, 0.25, 0.25])
    assert mean(values, weights) == pytest.approx(-2.5)
    assert stderr_of_mean(values, stderr, weights) == pytest.approx((0.05**2 + 2 * 0.05**2) ** 0.5)
    assert stderr_of_mean(values[:1], stderr[:1], None) == pytest.approx(0.1)
