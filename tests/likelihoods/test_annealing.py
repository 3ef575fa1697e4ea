"""Annealing: schedules are checked."""

from __future__ import annotations

import numpy as np
import pytest

from pyro_helm.likelihoods.annealing import temperatures


def test_schedules_rise_from_zero_to_one() -> None:
    betas = temperatures(100)
    assert len(betas) == 101
    assert betas[0] == 0
    assert betas[-1] == 1
    assert temperatures([0, 0.5, 1]) == [0.0, 0.5, 1.0]
    for bad in ([0.1, 1], [0, 0.5], [0, 0.7, 0.3, 1], [0]):
        with pytest.raises(ValueError, match="rise from 0 to 1"):
            temperatures(bad)
    assert temperatures(np.int64(4)) == temperatures(4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        temperatures(0)
    for other in (10.0, "10"):
        with pytest.raises(ValueError, match=r"whole number of steps, or inverse temperatures, got '?10"):
            temperatures(other)  # type: ignore[arg-type]
