r"""The characteristic function of a sum of independent two-valued causes, with its gradient.

    P_nj = prod_k (cos_kj + i m_nk sin_kj),     m = 2 q - 1

is ``E[exp(i sum_k +-angle_kj)]`` where sign k is positive with probability ``q_k``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from pyro_helm.layers.fused_sums import as_batches, over_rows, over_rows_and_columns

GROUP = 4


def product_of_turns(mean: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of ``prod_k (cos_kj + i m_k sin_kj)``, each ``[..., data, units]``.

    Nothing of the size data x causes x units is made, forward or backward. Second derivatives are not available.

    Args:
        mean: mean signs from -1 to 1, ``[..., data, causes]``.
        cosine: of the angles by which causes turn, ``[..., causes, units]``.
        sine: likewise.

    >>> angle = torch.tensor([[0.3], [0.4]])
    >>> real, imaginary = product_of_turns(torch.ones(1, 2), angle.cos(), angle.sin())
    >>> torch.atan2(imaginary, real)
    tensor([[0.7000]])
    """
    rows, (cosines, sines), restored = as_batches(mean, cosine, sine)
    real, imaginary = _Turns.apply(rows, cosines, sines)  # type: ignore[no-untyped-call]
    return restored(real), restored(imaginary)


class _Turns(Function):
    """``[batch, rows, causes]`` and twice ``[batch, causes, columns]`` to twice ``[batch, rows, columns]``."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
        missing = -mean.shape[-1] % GROUP
        # causes that turn nothing make up full groups
        rows = pad(mean, (0, missing))
        columns = pad(cosine, (0, 0, 0, missing), value=1.0), pad(sine, (0, 0, 0, missing))
        log_size, angle = over_rows(_size_and_angle, rows, columns)
        real, imaginary = log_size.exp() * angle.cos(), log_size.exp() * angle.sin()
        ctx.save_for_backward(mean, cosine, sine, real, imaginary)
        return real, imaginary

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_real: Tensor, of_imaginary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, cosine, sine, real, imaginary = ctx.saved_tensors
        # conj(gradient) * product
        slopes = of_real * real + of_imaginary * imaginary, of_real * imaginary - of_imaginary * real
        of_mean, of_cosine, of_sine = over_rows_and_columns(_gradients, mean, (cosine, sine), slopes)
        return of_mean, of_cosine, of_sine


def _size_and_angle(mean: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    real = imaginary = mean.new_zeros(())
    groups = zip(mean.chunk(GROUP, -1), cosine.chunk(GROUP, -2), sine.chunk(GROUP, -2), strict=True)
    for turn, (m, c, s) in enumerate(groups):
        along, across = c[:, None], m[..., None] * s[:, None]
        if turn:
            real, imaginary = real * along - imaginary * across, real * across + imaginary * along
        else:
            real, imaginary = along, across
    return (0.5 * (real**2 + imaginary**2).log()).sum(-2), torch.atan2(imaginary, real).sum(-2)


def _gradients(mean: Tensor, cosine: Tensor, sine: Tensor, real: Tensor, imaginary: Tensor) -> tuple[Tensor, ...]:
    along, across = cosine[:, None], mean[..., None] * sine[:, None]
    size = along**2 + across**2  # cannot be 0: the cosine of no floating-point number is
    # (real + i imaginary) / (along + i across)
    by_real = (real[:, :, None] * along + imaginary[:, :, None] * across) / size
    by_imaginary = (imaginary[:, :, None] * along - real[:, :, None] * across) / size
    return (
        -(by_imaginary * sine[:, None]).sum(-1),
        by_real.sum(-3),
        -(by_imaginary * mean[..., None]).sum(-3),
    )
