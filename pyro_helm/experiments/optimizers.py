"""Optimisers by a line of text: a name, then settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from pyro_helm.experiments.named_parts import maker_of, read_line
from pyro_helm.runtime.suggestions import unknown
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
    taken = inspect.signature(maker).parameters
    if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values()):
        for setting in settings:
            if setting not in taken or setting == "params":
                raise ValueError(unknown(f"setting of {name}", setting, [each for each in taken if each != "params"]))
    return partial(maker, **settings) if settings else maker
