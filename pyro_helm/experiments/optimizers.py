"""Optimisers by a line of text: a name, then settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from pyro_helm.experiments.named_parts import check_settings, maker_of, read_line
from pyro_helm.training.full_batch import LBFGS, ConjugateGradient
from pyro_helm.training.settings import FUSED_ADAM

FULL_BATCH: dict[str, Any] = {"conjugate_gradient": ConjugateGradient, "lbfgs": LBFGS}
"""Those that take all data in a step, and find its size themselves."""

OPTIMIZERS: dict[str, Any] = {
    "adam": FUSED_ADAM,
    "adamw": partial(torch.optim.AdamW, lr=0.01, fused=True),
    **FULL_BATCH,
}


def optimizer_of(line: str) -> Callable[..., torch.optim.Optimizer]:
    """What :func:`pyro_helm.fit` calls with the parameters.

    Args:
        line: a name in :data:`OPTIMIZERS`, or ``module:name``, and settings.

    Raises:
        ValueError: for an unknown optimiser or setting.

    >>> optimizer_of("adamw weight_decay=0.1").keywords["weight_decay"]
    0.1
    """
    name, settings = read_line(line, "optimizer")
    maker = maker_of(name, OPTIMIZERS, "optimizer")
    check_settings(name, settings, maker, not_asked=["params"])
    return partial(maker, **settings) if settings else maker
