"""Learning-rate schedules that go by a name."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from pyro_helm.runtime.suggestions import unknown

Schedule: TypeAlias = Callable[[torch.optim.Optimizer], LRScheduler]
"""What ``fit`` takes as ``schedule``: from the optimiser to the scheduler that is stepped after each epoch."""


def constant() -> Schedule:
    """The learning rate as it is."""
    return partial(LambdaLR, lr_lambda=_one)


def cosine(num_epochs: int) -> Schedule:
    """From the learning rate towards zero along half a cosine.

    Epoch e, counted from 0, has the rate times ``(1 + cos(pi e / num_epochs)) / 2``.

    Args:
        num_epochs: of the training. Later epochs have rate 0.

    Raises:
        ValueError: for fewer than one epoch.

    References:
        Loshchilov & Hutter 2017, `SGDR <https://arxiv.org/abs/1608.03983>`__, here without restarts.

    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = cosine(4)(optimizer)
    >>> optimizer.step(), scheduler.step(), round(scheduler.get_last_lr()[0], 4)
    (None, None, 0.8536)
    """
    return warm_up_cosine(num_epochs, warm_up=0)


def warm_up_cosine(num_epochs: int, *, warm_up: int | None = None) -> Schedule:
    """Up to the learning rate in equal steps, then towards zero along half a cosine.

    Epoch e, counted from 0, has the rate times ``(e + 1) / (warm_up + 1)`` while e is below ``warm_up``, and after
    that times ``(1 + cos(pi (e - warm_up) / (num_epochs - warm_up))) / 2``.

    Args:
        num_epochs: of the training. Later epochs have rate 0.
        warm_up: epochs below the full rate; None for a tenth of all, rounded up.

    Raises:
        ValueError: for fewer than one epoch, or a warm-up that is negative or leaves no epoch for the cosine.

    """
    _check_epochs(num_epochs)
    warm_up = min(-(-num_epochs // 10), num_epochs - 1) if warm_up is None else warm_up
    if not 0 <= warm_up < num_epochs:
        raise ValueError(f"warm_up must be from 0 to num_epochs - 1 = {num_epochs - 1}, got {warm_up}")
    return partial(LambdaLR, lr_lambda=partial(_warm_up_cosine, num_epochs=num_epochs, warm_up=warm_up))


def step(num_epochs: int, *, at: tuple[float, ...] = (0.5, 0.75), factor: float = 0.1) -> Schedule:
    """The learning rate, lowered at some points of the training.

    Args:
        num_epochs: of the training.
        at: shares of the epochs after which it is lowered.
        factor: by which it is multiplied each time.

    Raises:
        ValueError: for fewer than one epoch, shares that are not between 0 and 1, or a factor that is not positive.

    """
    _check_epochs(num_epochs)
    if not all(0 < share < 1 for share in at):
        raise ValueError(f"at must hold shares of the epochs between 0 and 1, got {at}")
    if not factor > 0:
        raise ValueError(f"factor must be positive, got {factor}")
    epochs = tuple(share * num_epochs for share in at)
    return partial(LambdaLR, lr_lambda=partial(_step, epochs=epochs, factor=factor))


SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "constant": lambda num_epochs: constant(),
    "cosine": cosine,
    "warm_up_cosine": warm_up_cosine,
    "step": step,
}
"""From the number of epochs to a schedule, by name."""


def by_name(name: str, num_epochs: int) -> Schedule:
    """The schedule of this name for so many epochs, with its usual settings.

    Raises:
        ValueError: for an unknown name, or fewer than one epoch.

    """
    if name not in SCHEDULES:
        raise ValueError(unknown("schedule", name, SCHEDULES))
    return SCHEDULES[name](num_epochs)


def _check_epochs(num_epochs: int) -> None:
    if num_epochs < 1:
        raise ValueError(f"num_epochs must be at least 1, got {num_epochs}")


# Functions of a module, not of a call, so that a scheduler can be pickled.


def _one(epoch: int) -> float:
    return 1.0


def _warm_up_cosine(epoch: int, *, num_epochs: int, warm_up: int) -> float:
    if epoch < warm_up:
        return (epoch + 1) / (warm_up + 1)
    share = min((epoch - warm_up) / (num_epochs - warm_up), 1.0)
    return (1 + math.cos(math.pi * share)) / 2


def _step(epoch: int, *, epochs: tuple[float, ...], factor: float) -> float:
    return factor ** sum(epoch >= boundary for boundary in epochs)
