"""The settings of a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pyro_helm.runtime.arguments import at_least_one, checked_seed, flag, not_negative, number, positive
from pyro_helm.training.callbacks import Callback, checked_callbacks
from pyro_helm.training.schedules import Schedule

FUSED_ADAM = partial(torch.optim.Adam, lr=0.01, fused=True)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a training, which :func:`pyro_helm.fit` explains."""

    num_epochs: int = 50
    max_seconds: float | None = None
    batch_size: int | None = 100
    optimizer: Callable[..., torch.optim.Optimizer] = FUSED_ADAM
    learning_rate: float | None = None
    schedule: str | Schedule | None = None
    max_gradient_norm: float | None = None
    average: float | None = None
    patience: int | None = None
    valid_samples: int = 10
    step: str | None = None
    seed: int = 0
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    dataset: str = ""
    out: str | Path | None = None
    resume: bool = False
    save_every: float = 60.0
    overwrite: bool = False
    progress: bool = True
    callbacks: Iterable[Callback] = ()


def checked_settings(settings: Settings, *, has_valid: bool) -> Settings:
    """The settings with Python's numbers; refuse values out of range or of another type."""
    if settings.patience is not None and not has_valid:
        raise ValueError("patience needs validation data to judge by, but valid is None")
    batch_size, patience = (
        None if value is None else at_least_one(name, value)
        for name, value in (("batch_size", settings.batch_size), ("patience", settings.patience))
    )
    norm = settings.max_gradient_norm
    is_unlimited = settings.max_seconds is None or settings.max_seconds == math.inf
    checked = replace(
        settings,
        num_epochs=at_least_one("num_epochs", settings.num_epochs),
        max_seconds=None if is_unlimited else positive("max_seconds", settings.max_seconds),
        batch_size=batch_size,
        valid_samples=at_least_one("valid_samples", settings.valid_samples),
        max_gradient_norm=None if norm is None else positive("max_gradient_norm", norm),
        average=None if settings.average is None else _decay(settings.average),
        patience=patience,
        seed=checked_seed(settings.seed),
        save_every=not_negative("save_every", settings.save_every),
        callbacks=checked_callbacks(settings.callbacks),
        learning_rate=None if settings.learning_rate is None else not_negative("learning_rate", settings.learning_rate),
    )
    _check_labels(settings.dataset, settings.progress)
    _check_saving(settings)
    return checked


def _decay(average: Any) -> float:
    """The decay of an average, as Python's; ValueError unless it is between 0 and 1."""
    decay = number("average", average)
    if not 0 < decay < 1:
        raise ValueError(f"average must be a decay between 0 and 1 such as 0.999, got {average}")
    return decay


def _check_labels(dataset: Any, progress: Any) -> None:
    """Refuse a name of the data that is no text, and a progress that is no truth value."""
    if not isinstance(dataset, str):
        raise TypeError(f"dataset must be a name, a string, got {dataset!r}")
    flag("progress", progress)


def _check_saving(settings: Settings) -> None:
    """Refuse to go on with a run in no folder, or one that is to be replaced as well."""
    resume, overwrite = flag("resume", settings.resume), flag("overwrite", settings.overwrite)
    if resume and overwrite:
        raise ValueError("resume goes on with the run in the folder and overwrite replaces it; ask for one of the two")
    if resume and settings.out is None:
        raise ValueError("resume=True needs the folder of the run, but out is None")
