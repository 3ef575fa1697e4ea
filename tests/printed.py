"""The equations of Dayan, Hinton, Neal & Zemel 1995 as printed, each a plain function named by its number.

Those that are a line of others stand in the tests: 2.1 to 2.6, 3.6 and 3.8 in ``test_printed.py``, and B.1, whose third
term has three readings, in ``test_printed_derivatives.py``.

Layers are counted as in the paper: ``s[1]`` is the input, ``s[2]`` the layer above it. ``theta[l]`` are the weights
``[units of l + 1, units of l]`` down to layer l, ``phi[l]`` those ``[units of l - 1, units of l]`` up to it. Biases are
one more unit that is always on, the last row of each; the topmost layer has nothing else.

These follow a scan of the print. Where an index is missing in it (``phi_i`` for ``phi_ij`` in 3.1 and 3.10, ``theta_k``
for ``theta_kj`` in appendix A) or misread (``q_i`` for ``q_j`` in the sentence before 3.1, ``1 - q_i`` for ``1 - q_j``
before 3.2, a sum over i of ``s_k`` in 3.3, ``s^i`` for ``s^1`` in 3.5), and where the minus sign of 3.7 stands before
two terms without a bracket, there is one reading, which is taken. Where what is printed is another formula than the
right one, the tests say so.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Layers = dict[int, Tensor]
Rule = Callable[[Tensor, Tensor], Tensor]


def with_bias(s: Tensor) -> Tensor:
    """The units of a layer and one that is always on."""
    return torch.cat([s, torch.ones_like(s[..., :1])], -1)


def sigma(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def q_3_1(phi: Tensor, below: Tensor) -> Tensor:
    """Equations 3.1, of activities, and 3.10, of their means."""
    return sigma(with_bias(below) @ phi)


def p_3_3(theta: Tensor, above: Tensor) -> Tensor:
    return sigma(above @ theta)


def p_a1(theta: Tensor, above: Tensor) -> Tensor:
    return 1 - (1 - above[..., :, None] * theta).prod(-2)


def p_a2(theta: Tensor, above: Tensor) -> Tensor:
    return 1 - 1 / (1 + above @ theta)


def p_obvious(theta: Tensor, q: Tensor) -> Tensor:
    """The expression before A.3, which "turns out not to work": A.2 of means."""
    return p_a2(theta, q)


def p_a3(theta: Tensor, q: Tensor) -> Tensor:
    return p_obvious(theta, q) * p_a1(theta / (1 + theta), q)


def bernoulli(s: Tensor, p: Tensor) -> Tensor:
    """The product over the units of a layer in 3.2, 3.4 and 3.5."""
    return (p**s * (1 - p) ** (1 - s)).prod(-1)


def q_alpha_3_2(s: Layers, phi: Layers) -> Tensor:
    product = torch.ones(())
    for level in phi:
        product = product * bernoulli(s[level], q_3_1(phi[level], s[level - 1]))
    return product


def generative(s: Layers, theta: Layers, rule: Rule, of_top: Rule | None = None) -> Layers:
    """``p_j^l(theta, s^(l+1))`` of every layer; the topmost, of its bias alone, by a rule of its own if given."""
    top = max(theta)
    above = {level: with_bias(s[level + 1]) for level in theta if level < top}
    above[top] = torch.ones_like(s[top][..., :1])
    rules = {**dict.fromkeys(theta, rule), **({top: of_top} if of_top else {})}
    return {level: rules[level](theta[level], above[level]) for level in theta}


def p_alpha_3_4(s: Layers, p: Layers) -> Tensor:
    product = torch.ones(())
    for level in range(2, max(p) + 1):
        product = product * bernoulli(s[level], p[level])
    return product


def p_d_given_alpha_3_5(s: Layers, p: Layers) -> Tensor:
    return bernoulli(s[1], p[1])


def energy_3_7(s: Layers, p: Layers) -> Tensor:
    return -sum_over_units(s, lambda at: s[at] * torch.log(p[at]) + (1 - s[at]) * torch.log(1 - p[at]))


def free_energy_3_9(s: Layers, q: Layers, p: Layers) -> Tensor:
    """``F_alpha``; the input is its own recognition, ``q^1 = s^1``, and ``0 log 0 = 0``."""
    return sum_over_units(
        s,
        lambda at: torch.xlogy(s[at], q[at] / p[at]) + torch.xlogy(1 - s[at], (1 - q[at]) / (1 - p[at])),
    )


def kl_3_11(q: Layers, p: Layers) -> Tensor:
    """The sum over layers and units of the right-hand side of 3.11, for each datum."""
    return free_energy_3_9(q, q, p)


def free_energy_b(q: Layers, p: Layers) -> Tensor:
    """The sum that appendix B begins with."""
    return sum_over_units(
        q,
        lambda at: (
            -q[at] * torch.log(p[at])
            - (1 - q[at]) * torch.log(1 - p[at])
            + torch.xlogy(q[at], q[at])
            + torch.xlogy(1 - q[at], 1 - q[at])
        ),
    )


def sum_over_units(layers: Layers, term: Callable[[int], Tensor]) -> Tensor:
    return torch.stack([term(level).sum(-1) for level in sorted(layers)]).sum(0)


def others(factors: Tensor) -> Tensor:
    """The product over ``a != j`` of factors ``[data, a, i]``, ``[data, j, i]``."""
    number = factors.shape[-2]
    rest = [[a for a in range(number) if a != j] for j in range(number)]
    return torch.stack([factors[:, some].prod(-2) for some in rest], -2)


def parts_of_a3(theta: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``1 + sum_a q_a theta_ai``, ``prod_a (1 - q_a theta_ai / (1 + theta_ai))`` and that product without j."""
    factors = 1 - q[:, :, None] * theta / (1 + theta)
    return (1 + q @ theta)[:, None], factors.prod(-2)[:, None], others(factors)


def dp_dq_b2(theta: Tensor, q: Tensor) -> Tensor:
    """``[data, j, i]``."""
    sums, product, rest = parts_of_a3(theta, q)
    return theta / sums**2 * (1 - product) + (1 - 1 / sums) * theta / (1 + theta) * rest


def dp_dtheta_b3(theta: Tensor, q: Tensor, first_numerator: Tensor) -> Tensor:
    """``[data, j, i]``; the first numerator, printed ``q_i``, is an argument ``[data, j, i]``."""
    sums, product, rest = parts_of_a3(theta, q)
    first = first_numerator / sums**2 * (1 - product)
    return first + (1 - 1 / sums) * q[:, :, None] / (1 + theta) ** 2 * rest
