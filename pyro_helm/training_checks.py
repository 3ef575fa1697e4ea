"""What ``fit`` refuses before it begins, each in a sentence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyro_helm.data import Distribution, check_binary
from pyro_helm.full_batch import FullBatchOptimizer
from pyro_helm.layers import check_sizes_agree, visible_units
from pyro_helm.placement import check_names_differ
from pyro_helm.schemes import Scheme
from pyro_helm.steps import STEPS


def check_settings(
    num_epochs: int,
    max_seconds: float | None,
    batch_size: int | None,
    valid_samples: int,
    patience: int | None,
    seed: int,
    has_valid: bool,
) -> None:
    """Refuse numbers out of range."""
    at_least_one = {
        "num_epochs": num_epochs,
        "batch_size": batch_size,
        "valid_samples": valid_samples,
        "patience": patience,
    }
    for setting, value in at_least_one.items():
        if value is not None and value < 1:
            raise ValueError(f"{setting} must be at least 1, got {value}")
    if max_seconds is not None and not max_seconds > 0:
        raise ValueError(f"max_seconds must be positive, got {max_seconds}")
    if not 0 <= seed < 2**62:
        raise ValueError(f"seed must be from 0 to 2^62 - 1, got {seed}")
    if patience is not None and not has_valid:
        raise ValueError("patience needs validation data to judge by, but valid is None")


def check_step(step: str, scheme: Scheme) -> None:
    """Refuse an unknown kind of step, or to capture a scheme that does not do the same in every step."""
    if step not in STEPS:
        raise ValueError(f"step must be one of {', '.join(STEPS)}; got {step!r}")
    if step != "eager" and not scheme.captures:
        raise ValueError(
            f"{type(scheme).__name__} does not do the same tensor operations in every step, which a step that is "
            f"{step} would; use step='eager'"
        )


def check_distribution(name: str, distribution: Distribution) -> None:
    """Refuse probabilities that are not one per pattern, negative, or of another sum than 1."""
    patterns, probabilities = distribution.patterns, distribution.probabilities
    if probabilities.shape != patterns.shape[:1]:
        raise ValueError(
            f"{name} has {len(patterns)} patterns and probabilities of shape {list(probabilities.shape)}, expected one "
            "for each"
        )
    total = float(probabilities.sum())
    if not bool((probabilities >= 0).all()) or not abs(total - 1) < 1e-5:
        raise ValueError(f"probabilities of {name} must be 0 or more and sum to 1, their sum is {total}")


def check_programs(model: Any, guide: Any, scheme: Any, data: Tensor, valid: Tensor | None) -> None:
    """Refuse what is no module or scheme, programs that differ, and data that they can't take."""
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be an inference scheme such as ReweightedWakeSleep(), got {scheme!r}")
    if guide is None:
        _check_guide_can_be_left_out(scheme, valid)
    for part, module in (("model", model), ("guide", guide)):
        if not isinstance(module, nn.Module) and not (part == "guide" and module is None):
            raise TypeError(
                f"{part} must be a torch or Pyro module so that fit can find its parameters, got "
                f"{type(module).__name__}; train plain functions with pyro.infer.SVI(model, guide, optim, loss=scheme)"
            )
    check_sizes_agree(model, guide)
    check_names_differ(model, guide)
    for name, tensor in (("data", data), ("valid", valid)):
        if tensor is not None:
            check_binary(tensor, name=name, width=visible_units(model))


def _check_guide_can_be_left_out(scheme: Scheme, valid: Tensor | None) -> None:
    if scheme.needs_guide:
        raise TypeError(f"{type(scheme).__name__} draws from a guide, got None; without one use Gibbs or ExactEM")
    if valid is not None:
        raise ValueError(
            "validation draws from a guide, got guide=None and data in valid; leave valid out and score the model "
            'afterwards with log_likelihood(model, None, data, method="exact"), or method="ais" with start="prior"'
        )


def checked_scheduler(scheduler: torch.optim.lr_scheduler.LRScheduler) -> torch.optim.lr_scheduler.LRScheduler:
    """The scheduler itself; ValueError for one that would couple the restarts."""
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ValueError(
            "ReduceLROnPlateau waits for one number and so would couple the restarts; use a schedule over epochs"
        )
    return scheduler


def check_full_batch(descent: torch.optim.Optimizer, scheme: Scheme, rows: int, batch_size: int, schedule: Any) -> None:
    """Refuse a full-batch optimiser for losses that change from call to call, or a learning-rate schedule with it."""
    if not isinstance(descent, FullBatchOptimizer):
        return
    name = type(descent).__name__
    if scheme.samples:
        raise ValueError(
            f"{name} needs a loss that is the same at every call, but {type(scheme).__name__} samples; use a "
            "deterministic scheme such as MeanField, or Adam"
        )
    if batch_size < rows:
        raise ValueError(
            f"{name} needs all {rows} data in every step, got batch_size={batch_size}; use batch_size=None"
        )
    if schedule is not None:
        raise ValueError(f"{name} has no learning rate, so schedule must be None")


def check_separable(descent: torch.optim.Optimizer, restarts: int) -> None:
    """Refuse an optimiser of torch's that would couple the restarts."""
    coupling = tuple(
        getattr(torch.optim, name) for name in ("LBFGS", "Adafactor", "Muon") if hasattr(torch.optim, name)
    )
    if restarts > 1 and isinstance(descent, coupling):
        raise ValueError(
            f"{type(descent).__name__} mixes the entries of a parameter and so would mix its {restarts} restarts; use "
            "pyro_helm.LBFGS, an elementwise optimiser such as Adam, or one restart"
        )
