r"""Logarithms as sums of exponentials, so that their means over independent causes become sums of products.

For a drive ``d = b + sum_k s_k w_k`` with independent causes,

    E[exp(-t d)] = exp(-t b) prod_k (1 - q_k + q_k exp(-t w_k))

is a product over causes. With ``-log p(d) ~ sum_i c_i exp(-t_i d)``, within a tolerance for every ``d`` that can occur,
``-E[log p] ~ sum_i c_i E[exp(-t_i d)]`` is within the same tolerance, whatever the causes and their probabilities.

    odds      -log p     =  log(1 + 1/o)  =  integral_0^inf  exp(-t o) (1 - exp(-t)) / t  dt
              -log (1-p) =  log(1 + o)    =  integral_0^inf  exp(-t) (1 - exp(-t o)) / t  dt
    noisy-or  -log p     = -log(1 - exp(-r)) = sum_{n >= 1} exp(-n r) / n
    sigmoid   log cosh(a/2) = integral_0^inf (1 - cos(a t)) / (t sinh(pi t)) dt

The integrals over ``t = exp(u)`` are taken by the trapezoid rule in ``u``: the integrands are analytic where
``|Im u| < pi/2`` and vanish at both ends, so that its error falls like ``exp(-pi^2 / step)`` (Trefethen & Weideman, The
Exponentially Convergent Trapezoidal Rule, SIAM Review 56, 2014, section 5).

Every unit has the number of nodes that its own weights take, whatever units and restarts stand beside it; up to the
largest number, its last node is repeated with a weight of zero. A unit that would take more than ``MAX_NODES`` has NaN
for nodes and weights, so that its restart alone fails; where that is so in every restart, it is a ValueError.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_helm.layers.characteristic_function import product_of_turns
from pyro_helm.layers.products import product_of_complements

MAX_NODES = 4096


class OddsRule(NamedTuple):
    """``-log p ~ sum_i on_i exp(-t_i o)`` and ``-log(1 - p) ~ sum_i off_i (1 - exp(-t_i o))``.

    Each ``[..., nodes, units]``.
    """

    nodes: Tensor
    on: Tensor
    off: Tensor


class RateRule(NamedTuple):
    """``-log p ~ sum_i on_i exp(-t_i r)``, each ``[..., nodes, units]``."""

    nodes: Tensor
    on: Tensor


class CosineRule(NamedTuple):
    """``log cosh(a/2) ~ curvature a^2 + sum_i weights_i (1 - cos(t_i a))``, each ``[..., nodes or 1, units]``."""

    nodes: Tensor
    weights: Tensor
    curvature: Tensor


def odds_rule(lowest: Tensor, highest: Tensor, tolerance: float) -> OddsRule:
    """Rule for units whose odds lie between two bounds, each ``[..., 1, units]``; errors within ``tolerance`` nats."""
    digits = _digits(tolerance, lowest.dtype)
    first = _smallness(digits) / highest.clamp(min=1)
    last = digits / lowest.clamp(max=1)
    nodes, step = _logarithmic_nodes(first, last, tolerance)
    return OddsRule(nodes, on=-step * torch.expm1(-nodes), off=step * torch.exp(-nodes))


def rate_rule(lowest: Tensor, tolerance: float) -> RateRule:
    """Rule for units whose rate is at least ``lowest [..., 1, units]``; errors within ``tolerance`` nats.

    The first terms of the sum are nodes as they are. The rest is an integral from half-way to the next term, on which
    the trapezoid rule acts, with the end corrections of Euler and Maclaurin as differences of the terms around.
    """
    digits = _digits(tolerance, lowest.dtype)
    # what four corrections leave falls like the tenth power
    number = math.ceil(max(4, digits / 2, (3 * math.exp(digits)) ** 0.1))
    corrections = _end_corrections()
    terms = torch.arange(1, number + len(corrections) + 1, dtype=torch.float64)
    share = (terms <= number).double()
    for distance, correction in enumerate(corrections.tolist()):
        share[number + distance] += correction
        share[number - 1 - distance] -= correction
    start = number + 0.5
    first = torch.full_like(lowest, _smallness(digits))
    beyond, step = _logarithmic_nodes(first, torch.maximum(digits / (start * lowest), 2 * first), tolerance)
    shape = (*lowest.shape[:-2], len(terms), lowest.shape[-1])
    terms, share = (t.to(lowest)[:, None].expand(shape) for t in (terms, share / terms))
    return RateRule(torch.cat([terms, start * (1 + beyond)], -2), torch.cat([share, step * beyond / (1 + beyond)], -2))


def cosine_rule(highest: Tensor, tolerance: float) -> CosineRule:
    """Rule for units whose logit is at most ``highest [..., 1, units]`` in size; errors within ``tolerance`` nats.

    A trapezoid rule in ``t`` with step ``h`` repeats the function with period ``2 pi / h``; the nearest copy must stay
    far enough away. The number of nodes grows in proportion to the largest logit.
    """
    digits = _digits(tolerance, highest.dtype)
    number = _numbers(digits / math.pi * (highest + digits) / (2 * math.pi), tolerance)
    step = digits / math.pi / number
    index = 1 + _indices(number - 1)
    nodes = step * torch.minimum(index, number)
    weights = torch.where(index > number, 0.0, step / (nodes * torch.sinh(math.pi * nodes)))
    return CosineRule(nodes, weights, step / (4 * math.pi))


def _logarithmic_nodes(first: Tensor, last: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Nodes even in ``log t`` from first to last, and the step of each, for integrands that begin like ``t``.

    All that lies before the first node is one node more, at a place and with a weight that give the sums of ``t`` and
    ``t^2`` over the infinitely many nodes there.
    """
    length = torch.log(last / first)
    longest_step = 0.9 * math.pi**2 / _digits(tolerance, first.dtype)
    number = _numbers(length / longest_step, tolerance)
    step = length / number
    index = _indices(number)
    nodes = first * torch.exp(step * torch.minimum(index, number))
    before = first / (torch.exp(step) + 1)
    steps = torch.cat([step / torch.tanh(step / 2), torch.where(index > number, 0.0, step)], -2)
    return torch.cat([before, nodes], -2), steps


def _numbers(needed: Tensor, tolerance: float) -> Tensor:
    """Number of steps of each unit, ``[..., 1, units]``; NaN for one that can't be served where others can."""
    finite = needed.isfinite()
    over = finite & (needed > MAX_NODES)
    if bool(over.flatten(-2).any(-1).all()):
        raise ValueError(
            f"expected log-probabilities within {tolerance:g} nats would take {float(needed[over].max()):.0f} nodes "
            f"for the weights that a unit has by now, and at most {MAX_NODES} are used; choose a larger tolerance or "
            "smaller weights"
        )
    return torch.where(finite & ~over, needed.ceil().clamp(min=1), torch.nan)


def _indices(last: Tensor) -> Tensor:
    """``0, 1, ...`` up to the largest of the units' last, ``[nodes, 1]``."""
    return torch.arange(int(last.nan_to_num(0.0).max()) + 1).to(last)[:, None]


def _digits(tolerance: float, dtype: torch.dtype) -> float:
    """``log(1 / tolerance)`` and a margin: ValueError for a tolerance that can't be kept in this precision."""
    least = 10 * torch.finfo(dtype).eps
    if not least <= tolerance < 1:
        raise ValueError(f"tolerance must be from {least:.1g} (in {dtype}) to 1 nat, got {tolerance}")
    # errors are exponentials in the digits, with factors up to 5 before them
    return math.log(1 / tolerance) + 2


def _smallness(digits: float) -> float:
    # what stands for the nodes before the first is wrong by a third power
    return 2 * math.exp(-digits / 3)


def _end_corrections() -> Tensor:
    """Weights ``c_j`` of ``f(N+1+j) - f(N-j)`` that make ``integral_{N+1/2}^inf f`` into ``sum_{n>N} f(n)``.

    At ``N + 1/2``, ``sum - integral = f'/24 - 7 f'''/5760 + 31 f^(5)/967680 - 127 f^(7)/154828800 + ...``, the formula
    of Euler and Maclaurin for midpoints; the derivatives are taken by differences.
    """
    series = torch.tensor([1 / 24, -7 / 5760, 31 / 967680, -127 / 154828800], dtype=torch.float64)
    distance = torch.arange(4, dtype=torch.float64) + 0.5
    odd = torch.arange(4) * 2 + 1
    factorial = torch.exp(torch.lgamma(odd.double() + 1))[:, None]
    solution: Tensor = torch.linalg.solve(2 * distance ** odd[:, None] / factorial, series)
    return solution


def mean_exponential(q: Tensor, weight: Tensor, leak: Tensor, nodes: Tensor) -> Tensor:
    """``E[exp(-t d)]`` of the drive ``d = leak + s @ weight`` at nodes ``t``: ``[..., data, nodes, units]``.

    Args:
        q: probabilities of the causes, ``[..., data, causes]``.
        weight: ``[..., causes, units]``.
        leak: ``[..., 1, units]``.
        nodes: ``[..., nodes, units]``.

    """
    taken = -torch.expm1(-weight[..., :, None, :] * nodes[..., None, :, :])
    product = product_of_complements(q, taken.flatten(-2)).value.unflatten(-1, nodes.shape[-2:])
    mean: Tensor = torch.exp(-nodes * leak)[..., None, :, :] * product
    return mean


def mean_cosine(q: Tensor, weight: Tensor, leak: Tensor, nodes: Tensor) -> Tensor:
    """``E[cos(t d)]`` of the drive ``d = leak + s @ weight`` at nodes ``t``: ``[..., data, nodes, units]``.

    Args:
        q: probabilities of the causes, ``[..., data, causes]``.
        weight: ``[..., causes, units]``.
        leak: ``[..., 1, units]``.
        nodes: ``[..., nodes, units]``.

    """
    # about the middle of its range the drive is a sum of +-weight/2, so that each cause turns by half an angle
    half = (weight[..., :, None, :] * nodes[..., None, :, :] / 2).flatten(-2)
    real, imaginary = product_of_turns(2 * q - 1, torch.cos(half), torch.sin(half))
    middle = (nodes * (leak + weight.sum(-2, keepdim=True) / 2)).flatten(-2)[..., None, :]
    cosine: Tensor = (real * torch.cos(middle) - imaginary * torch.sin(middle)).unflatten(-1, nodes.shape[-2:])
    return cosine
