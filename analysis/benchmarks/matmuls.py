"""The matrix products of a training step and nothing else: no program that samples layers can take less time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from analysis.benchmarks.setting import Setting, Trainer, as_they_are

Shape = tuple[int, int, int]
"""Rows, what is summed over, and columns."""


def start(setting: Setting) -> Trainer:
    """All of them, whatever the rows."""
    step = multiply(products(setting), setting.device)
    return Trainer(lambda rows: step(), as_they_are, None)


def multiply(shapes: list[Shape], device: str) -> Callable[[], None]:
    """Make all products, into memory that is there already."""
    operands = [_operands(shape, device) for shape in shapes]

    def step() -> None:
        for left, right, result in operands:
            torch.mm(left, right, out=result)

    return step


def _operands(shape: Shape, device: str) -> tuple[Tensor, Tensor, Tensor]:
    rows, inner, columns = shape
    left, right = torch.rand(rows, inner, device=device), torch.rand(inner, columns, device=device)
    return left, right, torch.empty(rows, columns, device=device)


def products(setting: Setting) -> list[Shape]:
    """Of a step, forward and backward; draws are constants, so that only weights get gradients."""
    draws = setting.batch * setting.particles
    up = list(pairwise(setting.sizes))
    down = [(above, below) for below, above in up]
    # the data are the same for all particles
    recognise = [(setting.batch, *up[0]), *((draws, *layer) for layer in up[1:])]
    generate = [(draws, *layer) for layer in down]
    if setting.scheme == "wake_sleep":
        sleep = [(draws, *layer) for layer in up]
        return [*recognise, *generate, *map(_of_gradient, generate), *generate, *sleep, *map(_of_gradient, sleep)]
    step = [*recognise, *generate, *map(_of_gradient, recognise), *map(_of_gradient, generate)]
    if setting.scheme == "disarm":
        for level in range(len(up)):  # the layers above a partner anew, and what it makes of the one below
            step += [(draws, *layer) for layer in up[level + 1 :]] + generate[level:]
    return step


def _of_gradient(product: Shape) -> Shape:
    rows, inner, columns = product
    return inner, rows, columns
