"""Sums over causes of an expression in rows and columns: fused by torch's compiler, or else in blocks of rows.

A kernel is one expression that broadcasts ``[batch, rows, causes, 1]`` against ``[batch, 1, causes, columns]`` and
reduces. Compiled, that large tensor is never made: the reduction runs inside one loop. Where torch finds no compiler,
the same expression runs on blocks of rows small enough for their tensor to stay in the cache.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pyro_helm.runtime.captured_graphs import reason_of

BLOCK = 2**18
"""Entries of a block. A problem no larger than one block is not worth the seconds that a compilation takes."""

Expression = Callable[..., tuple[Tensor, ...]]

_ALWAYS_FUSED: dict[str, str | int | bool | Callable[..., Any]] = {
    "realize_opcount_threshold": 10**6,
    "realize_reads_threshold": 10**6,
}
"""Or else the compiler writes long expressions to memory before it reduces them, and with them the large tensor."""

_WITHOUT_COMPILER: set[tuple[Expression, str]] = set()

CALLER = 6
"""Frames from a warning here to the caller of a product: _fused, over_rows, forward, apply, the product, its caller."""


def as_batches(rows: Tensor, *columns: Tensor) -> tuple[Tensor, list[Tensor], Callable[[Tensor], Tensor]]:
    """Bring rows ``[..., rows, causes]`` and columns ``[..., causes, columns]`` to three dimensions.

    Leading dimensions that the columns lack (particles, say) are so many more rows, which saves writing the columns out
    for each of them.

    Returns:
        rows ``[batch, rows, causes]``, columns ``[batch, causes, columns]``, and the function that gives a result
        ``[batch, rows, columns]`` its leading dimensions.

    Raises:
        ValueError: if the numbers of causes differ.

    """
    if any(rows.shape[-1] != column.shape[-2] for column in columns):
        raise ValueError(
            f"both need the same number of causes, got {rows.shape[-1]} as the last dimension of the first and "
            f"{columns[0].shape[-2]} as the last but one of the second"
        )
    extra = rows.shape[: max(0, rows.dim() - columns[0].dim())]
    batch = torch.broadcast_shapes(rows.shape[len(extra) : -2], columns[0].shape[:-2])
    flat = rows.expand(*extra, *batch, *rows.shape[-2:]).reshape(extra.numel(), batch.numel(), *rows.shape[-2:])
    flat = flat.transpose(0, 1).flatten(1, 2)
    flat_columns = [c.expand(*batch, *c.shape[-2:]).reshape(batch.numel(), *c.shape[-2:]) for c in columns]

    def restored(result: Tensor) -> Tensor:
        split: Tensor = result.unflatten(1, (extra.numel(), rows.shape[-2]))
        return split.transpose(0, 1).reshape(*extra, *batch, *split.shape[-2:])

    return flat, flat_columns, restored


def over_rows(expression: Expression, rows: Tensor, columns: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """``expression(rows, *columns)``, of which every result is ``[batch, rows, columns]``.

    Args:
        expression: pure function of tensors that treats each row by itself.
        rows: ``[batch, rows, causes]``.
        columns: tensors ``[batch, causes, columns]``.

    """
    fused = _fused(expression, rows, *columns)
    if fused is not None:
        return fused
    size = _rows_at_once(columns[0])
    # written into what is made once: small results kept among large ones that are freed would leave holes in the heap
    wholes: list[Tensor] = []
    for number, block in enumerate(rows.split(size, 1)):
        results = expression(block, *columns)
        wholes = wholes or [result.new_empty(len(result), rows.shape[1], result.shape[-1]) for result in results]
        for whole, result in zip(wholes, results, strict=True):
            whole[:, number * size : (number + 1) * size] = result
    return tuple(wholes)


def over_rows_and_columns(
    expression: Expression, rows: Tensor, columns: tuple[Tensor, ...], slopes: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """``expression(rows, *columns, *slopes)``: a gradient ``[batch, rows, causes]``, then one for each of the columns.

    Args:
        expression: pure function of tensors whose gradients for the columns are sums over rows.
        rows: ``[batch, rows, causes]``.
        columns: tensors ``[batch, causes, columns]``.
        slopes: tensors ``[batch, rows, columns]``.

    """
    fused = _fused(expression, rows, *columns, *slopes)
    if fused is not None:
        return fused
    size = _rows_at_once(columns[0])
    of_rows, of_columns = torch.empty_like(rows), [torch.zeros_like(column) for column in columns]
    blocks = zip(*(tensor.split(size, 1) for tensor in (rows, *slopes)), strict=True)
    for number, (block, *its_slopes) in enumerate(blocks):
        of_block, *of_its_columns = expression(block, *columns, *its_slopes)
        of_rows[:, number * size : (number + 1) * size] = of_block
        for total, part in zip(of_columns, of_its_columns, strict=True):
            total += part
    return (of_rows, *of_columns)


def _rows_at_once(column: Tensor) -> int:
    return max(1, BLOCK // max(1, column.numel()))


def _fused(expression: Expression, rows: Tensor, column: Tensor, *others: Tensor) -> tuple[Tensor, ...] | None:
    """Results of the compiled expression; None for small problems, and where it can't be compiled."""
    device = rows.device.type
    small = rows.shape[1] * column.numel() <= BLOCK
    # the compiler writes another program for sizes of 1, for strides of 0 and for inputs that ask for gradients, and it
    # gives up after eight of them: what is left is one batch or several, few causes or many, in two precisions
    narrow = rows.shape[1] == 1 or 1 in column.shape[1:]
    if small or narrow or (expression, device) in _WITHOUT_COMPILER:
        return None
    from torch._dynamo import config, exc  # late: it would take longer than all the rest of this library

    if config.disable:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the compiler's own affairs
            return _compiled(expression)(*(tensor.detach().contiguous() for tensor in (rows, column, *others)))
    except (exc.TorchDynamoException, getattr(exc, "FailOnRecompileLimitHit", exc.TorchDynamoException)) as error:
        _WITHOUT_COMPILER.add((expression, device))
        warnings.warn(
            f"torch.compile failed on {device}, so products over causes run in blocks, several times slower: "
            f"{reason_of(error)}",
            RuntimeWarning,
            stacklevel=CALLER,
        )
        return None


@cache
def _compiled(expression: Expression) -> Expression:
    # dynamic: one compilation serves every batch size and layer; fullgraph: where that fails, an error instead of the
    # expression as it stands, with its large tensor
    return torch.compile(expression, dynamic=True, fullgraph=True, options=_ALWAYS_FUSED)
