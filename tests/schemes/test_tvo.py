"""TVO: partitions of the path from guide to posterior."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_helm.schemes import TVO
from pyro_helm.schemes.tvo import points_of


@given(
    partition=st.sampled_from(["linear", "log_uniform"]),
    num_intervals=st.integers(1, 50),
    first=st.floats(1e-6, 0.9),
)
def test_a_named_partition_rises_from_zero_to_one(partition: str, num_intervals: int, first: float) -> None:
    points = points_of(partition, num_intervals, first)
    assert points[0] == 0
    assert points[-1] == 1
    assert len(points) == num_intervals + 1
    assert all(low < high for low, high in pairwise(points))


def test_the_log_uniform_one_has_equal_ratios_above_its_first_point() -> None:
    assert points_of("log_uniform", 4, 0.001) == pytest.approx([0, 0.001, 0.01, 0.1, 1])
    assert points_of("log_uniform", 1, 0.001) == [0, 1]


@pytest.mark.parametrize("points", [[0.0], [0.1, 1.0], [0.0, 0.9], [0.0, 0.7, 0.3, 1.0]])
def test_points_that_do_not_rise_from_zero_to_one_are_refused(points: list[float]) -> None:
    with pytest.raises(ValueError, match="partition must rise from 0 to 1"):
        TVO(2, partition=points)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"partition": "cubic"}, "partition must be log_uniform or linear, or points from 0 to 1; got 'cubic'"),
        ({"num_intervals": 0}, "num_intervals must be at least 1, got 0"),
        ({"first": 1.0}, r"first must be between 0 and 1, got 1\.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TVO(2, **settings)  # type: ignore[arg-type]


def test_a_covariance_needs_two_particles() -> None:
    with pytest.raises(ValueError, match="TVO needs num_particles to be an integer of at least 2, got 1"):
        TVO(1)
