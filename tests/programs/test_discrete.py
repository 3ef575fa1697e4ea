"""How many values the elements of a site have, under whatever declares events, masks and batches."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import pytest
import torch

from pyro_helm import NoisyOrBernoulli
from pyro_helm.programs.discrete import elementwise, elementwise_log_prob, num_values, uniform_log_prob

PROBS = torch.full((4, 3), 1 / 3)


@pytest.mark.parametrize(
    ("fn", "count"),
    [
        (dist.Bernoulli(PROBS), 2),
        (dist.Bernoulli(PROBS).to_event(1), 2),
        (dist.Bernoulli(PROBS).mask(PROBS > 0).to_event(1), 2),
        (dist.Bernoulli(PROBS).expand([5, 4, 3]).to_event(2), 2),
        (NoisyOrBernoulli(PROBS).to_event(1), 2),
        (dist.Categorical(PROBS), 3),
        (dist.Categorical(PROBS).to_event(1), 3),
        (dist.Normal(PROBS, 1.0).to_event(1), None),
        (dist.Poisson(PROBS), None),
    ],
)
def test_values_of_an_element(fn: Any, count: int | None) -> None:
    assert num_values(fn) == count


def test_the_elements_distribution_is_the_innermost() -> None:
    fn = dist.Bernoulli(PROBS)
    assert elementwise(fn.mask(PROBS > 0).to_event(1)) is fn


def test_elements_are_scored_by_a_density_of_ones_own_under_events_and_masks() -> None:
    fn = dist.Bernoulli(PROBS).mask(torch.tensor([True, False, True])).to_event(1)
    value = torch.ones(4, 3)
    assert elementwise_log_prob(fn, value, lambda single, elements: elements * 2).tolist() == [4.0] * 4
    assert torch.allclose(elementwise_log_prob(fn, value, lambda single, x: single.log_prob(x)), fn.log_prob(value))


def test_uniform_log_probabilities_count_the_states_that_are_not_masked() -> None:
    fn = dist.Categorical(PROBS.expand(2, 4, 3)).mask(torch.tensor([True, True, False, True])).to_event(1)
    assert uniform_log_prob(fn, torch.zeros(2, 4)).tolist() == pytest.approx([-3 * math.log(3)] * 2)
    with pytest.raises(ValueError, match="a Normal has no finite number of values"):
        uniform_log_prob(dist.Normal(0.0, 1.0), torch.zeros(()))
