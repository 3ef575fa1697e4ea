"""Every state of a few binary units, and its probability."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_helm.layers.binary_states import AllStates, all_states, state_probabilities
from tests.oracle import binary_rows


@pytest.mark.parametrize("units", [0, 1, 3, 6])
def test_all_states_are_every_binary_vector_once_in_order(units: int) -> None:
    assert all_states(units, torch.zeros(())).tolist() == [
        list(row) for row in itertools.product((0.0, 1.0), repeat=units)
    ]


def test_states_can_be_made_a_slice_at_a_time() -> None:
    states = AllStates(3, torch.zeros((), dtype=torch.float64))
    assert len(states) == 8
    assert torch.equal(states[0:8], binary_rows(3))
    assert torch.equal(states[3:5], binary_rows(3)[3:5])


@settings(max_examples=40, deadline=None)
@given(q=st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_probabilities_are_products_and_sum_to_one(q: list[float]) -> None:
    probabilities = torch.tensor(q, dtype=torch.float64)
    states = binary_rows(len(q))
    expected = torch.where(states == 1, probabilities, 1 - probabilities).prod(-1)
    ours = state_probabilities(probabilities)
    assert torch.allclose(ours, expected, rtol=1e-14, atol=0.0)
    assert float(ours.sum()) == pytest.approx(1.0, abs=1e-14)


def test_leading_dimensions_are_kept() -> None:
    q = torch.rand(4, 2, 5, 3, generator=torch.Generator().manual_seed(0))
    ours = state_probabilities(q)
    assert ours.shape == (4, 2, 5, 8)
    assert torch.allclose(ours[3, 1, 2], state_probabilities(q[3, 1, 2]))


def test_gradient_is_exact_where_a_unit_is_certain() -> None:
    q = torch.tensor([0.0, 1.0, 0.3, 1.0], dtype=torch.float64, requires_grad=True)
    weight = torch.rand(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (ours,) = torch.autograd.grad(weight @ state_probabilities(q), q)
    # multilinear: the slope in a unit is the difference between its two values
    for unit in range(4):
        ends = [q.detach().clone() for _ in range(2)]
        ends[0][unit], ends[1][unit] = 0.0, 1.0
        off, on = (weight @ state_probabilities(end) for end in ends)
        assert float(ours[unit]) == pytest.approx(float(on - off), rel=1e-13)
