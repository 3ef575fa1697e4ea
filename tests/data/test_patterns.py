from __future__ import annotations

import math

import pytest
import torch

from pyro_helm.data.patterns import PatternDistribution, draw, merge_equal


def test_equal_patterns_are_merged_and_their_probabilities_added() -> None:
    patterns = torch.tensor([[1, 1], [0, 1], [1, 1], [0, 0]])
    merged = merge_equal(patterns, torch.tensor([0.125, 0.25, 0.5, 0.125], dtype=torch.float64))
    assert merged.patterns.tolist() == [[0, 0], [0, 1], [1, 1]]
    assert merged.probabilities.tolist() == [0.125, 0.25, 0.625]
    assert merged.probabilities.dtype == torch.float64


@pytest.mark.parametrize("states", [1, 2, 37])
def test_entropy_of_equal_probabilities_is_the_log_of_their_number(states: int) -> None:
    uniform = torch.full((states,), 1 / states, dtype=torch.float64)
    assert PatternDistribution(torch.eye(states), uniform).entropy == pytest.approx(math.log(states), abs=1e-12)


def test_draws_repeat_at_a_seed_and_differ_between_seeds() -> None:
    distribution = PatternDistribution(torch.eye(4), torch.full((4,), 0.25, dtype=torch.float64))
    first, again, other = (draw(distribution, 50, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_certain_pattern_is_always_drawn() -> None:
    distribution = PatternDistribution(
        torch.tensor([[0], [1], [2]]), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    )
    assert (draw(distribution, 1000, seed=0) == 1).all()
