r"""The product over causes that the noisy-or and the odds rule ask for, with its gradient, in little memory.

    log P_nj = sum_k log(1 - q_nk r_kj),      d P_nj / d q_nk = -r_kj  prod_{i != k} (1 - q_ni r_ij)

Equations A.1 and A.3 of Dayan, Hinton, Neal & Zemel 1995 with probabilities ``q`` in place of samples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from pyro_helm.layers.fused_sums import BLOCK, as_batches, over_rows, over_rows_and_columns

GROUP = 4
"""Factors multiplied before a logarithm is taken of them: in float32 the smallest product but 0 is (6e-8)^4 = 1e-29."""


class Product(NamedTuple):
    """A product and its logarithm, ``[..., data, units]``.

    Gradients may flow through both; the product's own are exact where a factor is 0 and the logarithm infinite.
    """

    log: Tensor
    value: Tensor

    def times(self, log_factor: Tensor) -> Product:
        """The product with one factor more, given by its logarithm, which broadcasts to ``[..., units]``."""
        return Product(self.log + log_factor, self.value * torch.exp(log_factor))

    @property
    def log_complement(self) -> Tensor:
        """``log(1 - product)``, ``[..., units]``, with exact gradients, accurate for products near 0 and near 1."""
        near_one = self.value > 0.5
        # where the other branch holds, its place is taken by a number that gives no NaN to the gradient
        log = torch.where(near_one, self.log, -1.0)
        value = torch.where(near_one, 0.0, self.value)
        return torch.where(near_one, torch.log(-torch.expm1(log)), torch.log1p(-value))


def product_of_complements(q: Tensor, r: Tensor) -> Product:
    r"""``prod_k (1 - q_k r_kj)`` and its logarithm, for every datum and unit.

    Nothing of the size data x causes x units is made, forward or backward. Second derivatives are not available.

    Args:
        q: probabilities ``[..., data, causes]``.
        r: what each cause, if on, takes away, from 0 to 1: ``[..., causes, units]``; leading dimensions broadcast.

    Raises:
        ValueError: if the numbers of causes differ.

    >>> q, r = torch.tensor([[0.5, 1.0]]), torch.tensor([[0.5], [0.2]])
    >>> product_of_complements(q, r).value
    tensor([[0.6000]])
    """
    rows, (columns,), restored = as_batches(q, r)
    log, value = _Product.apply(rows, columns)  # type: ignore[no-untyped-call]
    return Product(restored(log), restored(value))


class _Product(Function):
    """``[batch, rows, causes]`` and ``[batch, causes, columns]`` to log and value ``[batch, rows, columns]``."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        missing = -q.shape[-1] % GROUP
        # causes that are never on make up full groups
        rows, columns = (pad(q, (0, missing)), pad(r, (0, 0, 0, missing))) if missing else (q, r)
        (log,) = over_rows(_log_product, rows, (columns,))
        value = log.exp()
        ctx.save_for_backward(q, r, log, value)
        return log, value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_log: Tensor, of_value: Tensor) -> tuple[Tensor, Tensor]:
        q, r, log, value = ctx.saved_tensors
        slope = of_log + of_value * value
        at_zero = _slope_at_zero_factors(q, r, log, of_log, of_value)
        of_q, of_r = over_rows_and_columns(_gradients, q, (r,), (slope, at_zero))
        return of_q, of_r


def _log_product(q: Tensor, r: Tensor) -> tuple[Tensor]:
    of_rows, of_columns = q.chunk(GROUP, -1), r.chunk(GROUP, -2)
    product = taken = q.new_zeros(())
    for turn, (cause, takes) in enumerate(zip(of_rows, of_columns, strict=True)):
        taken_by_one = cause[..., None] * takes[:, None]
        # what has been taken so far is summed beside the product, since 1 - product forgets small amounts
        taken = taken + taken_by_one * product if turn else taken_by_one
        product = product * (1 - taken_by_one) if turn else 1 - taken_by_one
    forgotten = torch.where(product < 0.5, 0.0, ((1 - product) - taken) / product)
    return ((product.log() + forgotten).sum(-2),)


def _gradients(q: Tensor, r: Tensor, slope: Tensor, at_zero: Tensor) -> tuple[Tensor, Tensor]:
    factor = 1 - q[..., None] * r[:, None]
    is_zero = factor == 0
    share = torch.where(is_zero, at_zero[:, :, None], slope[:, :, None] / torch.where(is_zero, 1.0, factor))
    return -(share * r[:, None]).sum(-1), -(share * q[..., None]).sum(-3)


def _slope_at_zero_factors(q: Tensor, r: Tensor, log: Tensor, of_log: Tensor, of_value: Tensor) -> Tensor:
    """Derivative by a factor that is 0: the product of the others, so 0 again if there is a second such factor."""
    slope = torch.zeros_like(log)
    places = (log == -torch.inf).nonzero()
    for some in places.split(max(1, BLOCK // q.shape[-1])):
        batch, row, column = some.unbind(-1)
        factors = 1 - q[batch, row] * r[batch, :, column]
        is_zero = factors == 0
        others = torch.where(is_zero, 1.0, factors).prod(-1) * (is_zero.sum(-1) == 1)
        through_log = of_log[batch, row, column]
        # the logarithm's own slope is infinite there, unless nothing depends on it
        infinite = torch.where(through_log == 0, 0.0, through_log * torch.inf)
        slope[batch, row, column] = of_value[batch, row, column] * others + infinite
    return slope
