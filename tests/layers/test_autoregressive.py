"""Layers with lateral connections, by the probability of every vector."""

from __future__ import annotations

import pytest
import torch

from pyro_helm.layers import Categorical, Sigmoid
from pyro_helm.layers.autoregressive import Autoregressive
from tests.checker import z_scores
from tests.oracle import binary_rows


def layer(blocks: int, restarts: int = 1, units: int = 4) -> Sigmoid:
    found = Sigmoid(3, units, restarts=restarts, generator=torch.Generator().manual_seed(0))
    found.connect(blocks)
    found.double()
    with torch.no_grad():
        found.lateral.copy_(torch.randn(restarts, units, units, generator=torch.Generator().manual_seed(1)))
    return found


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_probabilities_of_all_vectors_sum_to_one_and_draws_follow_them(blocks: int) -> None:
    torch.manual_seed(0)
    given = layer(blocks)(torch.tensor([1.0, 0.0, 1.0]).double())
    assert isinstance(given, Autoregressive)
    rows = binary_rows(4)
    chances = given.log_prob(rows).exp().detach()
    assert float(chances.sum()) == pytest.approx(1.0)
    drawn = given.sample((20_000,))
    frequencies = (drawn[:, None] == rows).all(-1).double()
    assert float(z_scores(frequencies, chances).abs().max()) < 4.5  # z-threshold


def test_a_unit_is_driven_by_those_of_earlier_blocks_alone() -> None:
    unit = layer(2)
    assert unit.blocks == (slice(0, 2), slice(2, 4))
    weight = unit.lateral_weight
    assert torch.equal(weight != 0, torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]).bool())


def test_no_block_divides_a_group() -> None:
    groups = Categorical(2, 7, groups=(2, 3, 2))
    groups.connect(2)
    assert groups.blocks == (slice(0, 5), slice(5, 7))
    drawn = groups(torch.ones(100, 2)).sample()
    assert torch.equal(torch.stack([part.sum(-1) for part in drawn.split((2, 3, 2), -1)], -1), torch.ones(100, 3))


@pytest.mark.parametrize("restarts", [1, 3])
def test_it_expands_without_writing_parameters_out(restarts: int) -> None:
    unit = layer(4, restarts)
    given = unit(torch.ones(1, 3).double()).expand((restarts, 5) if restarts > 1 else (5,))
    assert given.sample((2,)).shape == (2, *given.batch_shape, 4)
    assert given.log_prob(torch.zeros(4).double()).shape == given.batch_shape
