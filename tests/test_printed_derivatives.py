"""Appendices A and B of Dayan, Hinton, Neal & Zemel 1995 as printed, against finite differences and the library.

A.3 is the rule of the deterministic machine; B.1 is the total derivative dF/dq, B.2 is dp/dq of A.3 and B.3 dp/dtheta.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pyro_helm.layers import Odds
from tests.oracle import binary_rows
from tests.printed import (
    Layers,
    dp_dq_b2,
    dp_dtheta_b3,
    free_energy_b,
    generative,
    p_a2,
    p_a3,
    p_obvious,
    q_3_1,
    with_bias,
)
from tests.test_printed import machine, passed_up, weights

DRAWS = torch.Generator().manual_seed(0)
THETA = torch.rand(4, 4, generator=DRAWS).double() * 3
Q = torch.rand(6, 4, generator=DRAWS).double()


def slope(function: Callable[[Tensor], Tensor], at: Tensor, entry: tuple[int, ...], step: float = 1e-5) -> Tensor:
    """The central difference of a function by one entry of its argument."""
    up, down = at.clone(), at.clone()
    up[entry] += step
    down[entry] -= step
    return (function(up) - function(down)) / (2 * step)


def layer(theta: Tensor, leak: float) -> Odds:
    odds = Odds(*theta.shape, fixed_leak=leak, learned_leak=False)
    odds.double()
    with torch.no_grad():
        odds.weight = theta[None].clone()
    return odds


def test_a3_is_what_the_library_takes_and_up_to_three_causes_are_summed() -> None:
    ours = layer(THETA, 0.05)
    rows = torch.cat([THETA, torch.full((1, 4), 0.05).double()])
    assert torch.allclose(ours.log_mean(Q, max_enumerated=3).on.exp(), p_a3(rows, with_bias(Q)), rtol=1e-6)
    three, states = layer(THETA[:3], 0.05), binary_rows(3)
    few = torch.cat([THETA[:3], rows[4:]])
    probability = torch.where(states == 1, Q[:, None, :3], 1 - Q[:, None, :3]).prod(-1)
    mean = probability @ p_a2(few, with_bias(states))
    assert torch.allclose(three.log_mean(Q[:, :3], max_enumerated=3).on.exp(), mean, rtol=1e-6)
    assert not torch.allclose(mean, p_a3(few, with_bias(Q[:, :3])), rtol=1e-2)


def test_the_obvious_rule_takes_an_uncertain_cause_for_a_likely_one() -> None:
    """A single cause of odds 20 that is on with probability 0.1: the unit is on with 0.1 x 20/21."""
    theta, q = torch.tensor([[20.0]]).double(), torch.tensor([[0.1]]).double()
    assert float(p_obvious(theta, q)) == pytest.approx(0.667, abs=5e-4)
    assert float(p_a3(theta, q)) == pytest.approx(0.0635, abs=5e-4)
    assert float(q * p_a2(theta, torch.ones(1, 1).double())) == pytest.approx(0.095, abs=5e-4)


def test_b2_is_the_slope_of_a3_by_q() -> None:
    for j in range(4):
        difference = torch.stack(
            [slope(lambda q: p_a3(THETA, q)[n], Q, (n, j)) for n in range(len(Q))]  # noqa: B023
        )
        assert torch.allclose(dp_dq_b2(THETA, Q)[:, j], difference, atol=1e-8)


def test_b3_has_q_i_for_q_j_in_its_first_numerator() -> None:
    """i counts the units of the layer below: printed is the activity of another unit, where there is one at all."""
    q_j, q_i = (Q[:, :, None].expand(-1, 4, 4), Q[:, None, :].expand(-1, 4, 4))
    right, printed = dp_dtheta_b3(THETA, Q, q_j), dp_dtheta_b3(THETA, Q, q_i)
    for j in range(4):
        for i in range(4):
            difference = slope(lambda theta: p_a3(theta, Q)[:, i], THETA, (j, i))  # noqa: B023
            assert torch.allclose(right[:, j, i], difference, atol=1e-8)
            assert torch.allclose(printed[:, j, i], difference, atol=1e-3) == (i == j)


def of_activity(theta: Layers, phi: Layers, q: Layers, level: int) -> Callable[[Tensor], Tensor]:
    """F as a function of the activities of one layer, those above following by 3.10."""

    def value(activity: Tensor) -> Tensor:
        moved = {**q, level: activity}
        for above in range(level + 1, max(q) + 1):
            moved[above] = q_3_1(phi[above], moved[above - 1])
        return free_energy_b(moved, generative(moved, theta, p_a3))

    return value


def direct_terms(theta: Layers, q: Layers, p: Layers, level: int) -> Tensor:
    """The first two terms of B.1, the first with ``(1 - p)/p`` and ``q/(1 - q)`` under one logarithm."""
    first = torch.log((1 - p[level]) / p[level] * q[level] / (1 - q[level]))
    by_p = (p[level - 1] - q[level - 1]) / (p[level - 1] * (1 - p[level - 1]))
    by_q = dp_dq_b2(theta[level - 1], with_bias(q[level]))[:, :-1]  # the last row is the bias
    return first + torch.einsum("ni,nji->nj", by_p, by_q)


def slope_of_q(phi: Layers, q: Layers, above: int, level: int) -> Tensor:
    """``dq_k^above / dq_j^level`` along all paths, ``[data, j, k]``: a product over the layers between."""
    product = torch.eye(q[level].shape[-1]).double()
    for at in range(level + 1, above + 1):
        product = product @ (phi[at][:-1] * (q[at] * (1 - q[at]))[:, None])
    return product


def b_1(theta: Layers, phi: Layers, q: Layers, third_term: str) -> Layers:
    """The total derivative by every hidden layer, from the top down, with one reading of its third term."""
    p = generative(q, theta, p_a3)
    direct = {level: direct_terms(theta, q, p, level) for level in phi}
    total: Layers = {}
    for level in sorted(phi, reverse=True):
        nearest = [level + 1] if level + 1 in phi else []
        layers = nearest if third_term == "total, next layer" else range(level + 1, max(phi) + 1)
        by = direct if third_term == "direct, all higher layers" else total
        total[level] = direct[level] + sum(
            (torch.einsum("nk,njk->nj", by[at], slope_of_q(phi, q, at, level)) for at in layers),
            torch.zeros_like(direct[level]),
        )
    return total


READINGS = ("total, next layer", "direct, all higher layers", "total, all higher layers")


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("sizes", [(5, 4, 3), (5, 4, 3, 2)], ids=["two hidden layers", "three"])
def test_the_third_term_of_b1_counts_twice_if_it_runs_over_all_higher_layers(
    reading: str, sizes: tuple[int, ...]
) -> None:
    """Printed is a sum over the layers above of the *accumulated* dF/dq, which holds the layers beyond already.

    It is right over the next layer alone, or over all with the first two terms alone in the place of dF/dq; with two
    hidden layers, as in the paper's machine, that is the same.
    """
    pair = machine("odds", sizes)
    theta, phi = ({level: rows.detach() for level, rows in layers.items()} for layers in weights(pair))
    x = (torch.rand(5, 5, generator=torch.Generator().manual_seed(2)) < 0.5).double()
    q = passed_up(phi, x)
    derivatives = b_1(theta, phi, q, reading)
    agree = {}
    for level in phi:
        value = of_activity(theta, phi, q, level)
        difference = torch.stack(
            [torch.stack([slope(value, q[level], (n, j))[n] for j in range(q[level].shape[1])]) for n in range(len(x))]
        )
        agree[level] = torch.allclose(derivatives[level], difference, atol=1e-6)
    twice = reading == "total, all higher layers" and len(sizes) > 3
    assert agree == {level: not (twice and level == 2) for level in phi}


def test_the_sum_sign_in_the_first_term_of_b1_is_a_misprint() -> None:
    """``log (1 - p)/p  Sigma  q/(1 - q)`` is the logarithm of the product for one unit; no sum over units agrees."""
    pair = machine("odds", (4, 3))
    theta, phi = ({level: rows.detach() for level, rows in layers.items()} for layers in weights(pair))
    x = torch.tensor([[1, 0, 1, 1]]).double()
    q = passed_up(phi, x)
    p = generative(q, theta, p_a3)
    value = of_activity(theta, phi, q, 2)
    total = torch.stack([slope(value, q[2], (0, j))[0] for j in range(3)])
    off, odds = (1 - p[2]) / p[2], q[2] / (1 - q[2])
    second = direct_terms(theta, q, p, 2) - torch.log(off * odds)
    readings = {
        "log of the product": torch.log(off * odds),
        "log of the sum": torch.log(off * odds.sum(-1, keepdim=True)),
        "log, times the sum": torch.log(off) * odds.sum(-1, keepdim=True),
        "log, times the odds": torch.log(off) * odds,
    }
    right = {name for name, first in readings.items() if torch.allclose(total, (first + second)[0], atol=1e-6)}
    assert right == {"log of the product"}
