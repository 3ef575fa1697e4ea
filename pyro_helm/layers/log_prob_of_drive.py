"""Log-probability of a binary unit as a function of its drive, with derivatives that neither overflow nor cancel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, threshold
from torch.overrides import wrap_torch_function


def above_zero(drive: Tensor) -> Tensor:
    """The drive ``[...]``, or the smallest normal number for one of 0."""
    # a drive that underflowed to 0 would give -inf, and NaN in gradients as 0 * inf; in float32 and float64
    # adding the smallest normal number changes no drive from 1e-30 up, and costs less than a clamp's backward
    return drive + torch.finfo(drive.dtype).tiny


def _sign(value: Tensor) -> Tensor:
    return torch.rsub(value, -1, alpha=-2)  # 2 value - 1


def log_prob_of_logits(logits: Tensor, value: Tensor) -> Tensor:
    """Log-probability of zeros and ones by the logits, in nats; all ``[..., units]``."""
    # one product instead of torch.where, whose forward and backward cost several times as much
    return logsigmoid(_sign(value.to(logits.dtype)) * logits)


# both are functions of torch to tensors of other kinds, such as those that Pyro's TraceGraph_ELBO follows through a
# program: inside an autograd function they would lose the gradient. A value that carries a gradient, a relaxed one say,
# is scored without the autograd functions, which have none for it


@wrap_torch_function(lambda odds, value: (odds, value))
def log_prob_of_odds(odds: Tensor, value: Tensor) -> Tensor:
    """``-log(1 + 1 / odds)`` of ones and ``-log(1 + odds)`` of zeros, in nats; all ``[..., units]``."""
    if value.requires_grad:
        return log_prob_of_logits(torch.log(above_zero(odds)), value)
    log_p: Tensor = _LogProbOfOdds.apply(odds, value.to(odds.dtype))  # type: ignore[no-untyped-call]
    return log_p


@wrap_torch_function(lambda rate, value: (rate, value))
def log_prob_of_rate(rate: Tensor, value: Tensor) -> Tensor:
    """``log(1 - exp(-rate))`` of ones and ``-rate`` of zeros, in nats; all ``[..., units]``."""
    if value.requires_grad:
        above = above_zero(rate)
        return torch.lerp(-rate, logsigmoid(above + torch.log(-torch.expm1(-above))), value.to(rate.dtype))
    log_p: Tensor = _LogProbOfRate.apply(rate, value.to(rate.dtype))  # type: ignore[no-untyped-call]
    return log_p


class _LogProbOfOdds(torch.autograd.Function):
    """Log-probability by the odds.

    Its gradient is ``1 / (odds (1 + odds))`` of ones and ``-1 / (1 + odds)`` of zeros. By way of the logits the second
    derivative of zeros would be a difference of two numbers of the order ``1 / odds``.
    """

    @staticmethod
    def forward(ctx: Any, odds: Tensor, value: Tensor) -> Tensor:
        sign, above = _sign(value), above_zero(odds)
        signed = sign * torch.log(above)
        ctx.save_for_backward(odds, value, sign, above, signed)
        return logsigmoid(signed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        odds, value, sign, above, signed = ctx.saved_tensors
        if not torch.is_grad_enabled():  # the same number, at less cost
            return (gradients[0] * torch.sigmoid(-signed) * sign / above).sum_to_size(odds.shape), None
        # of zeros not odds in any way, whose derivatives overflow
        divisor = torch.where(value == 0, -1.0, above_zero(odds))
        slope = 1 / (1 + odds) / divisor
        between = (value > 0) & (value < 1)
        above = torch.where(between, above_zero(odds), 1.0)
        slope = torch.where(between, torch.sigmoid(-sign * torch.log(above)) * sign / above, slope)
        return (gradients[0] * slope).sum_to_size(odds.shape), None


class _LogProbOfRate(torch.autograd.Function):
    """Log-probability by the rate, also an infinite one.

    Its gradient is ``1 / (exp(rate) - 1)`` of ones and -1 of zeros.
    """

    @staticmethod
    def forward(ctx: Any, rate: Tensor, value: Tensor) -> Tensor:
        above = above_zero(rate)
        complement = -torch.expm1(-above)
        # the sigmoid of logits, as log(-expm1(-rate)) is 0 once exp(-rate) < 1e-7 in float32
        logits = above + torch.log(complement)
        ctx.save_for_backward(rate, value, complement, logits)
        # lerp picks one of two finite numbers exactly, and is several times faster than where
        largest = torch.finfo(rate.dtype).max
        log_p = torch.lerp(-rate.clamp(max=largest), logsigmoid(logits), value)
        return threshold(log_p, -largest, -torch.inf)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        rate, value, complement, logits = ctx.saved_tensors
        if not torch.is_grad_enabled():  # the same number, at less cost
            on = gradient * torch.sigmoid(-logits) / complement
            return torch.lerp(-gradient.expand_as(on), on, value).sum_to_size(rate.shape), None
        # of zeros not the rate in any way, whose derivatives overflow
        off = value == 0
        minus = torch.where(off, -1.0, -above_zero(rate))
        slope = torch.where(
            off, -1.0, torch.lerp(-torch.ones_like(minus), torch.exp(minus) / -torch.expm1(minus), value)
        )
        return (gradient * slope).sum_to_size(rate.shape), None
