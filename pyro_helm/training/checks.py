"""What ``fit`` refuses before it begins, each in a sentence."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.optim import PyroOptim
from torch import Tensor, nn

from pyro_helm.data.checks import check_rows
from pyro_helm.data.sets import PatternDistribution
from pyro_helm.programs.first_run import explained
from pyro_helm.programs.layered import check_sizes_agree
from pyro_helm.programs.module_state import Buffers, evaluating
from pyro_helm.programs.observations import check_data
from pyro_helm.programs.param_store import check_names_differ, own_param_store
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.schemes import Scheme
from pyro_helm.training.full_batch import FullBatchOptimizer
from pyro_helm.training.restarts import Restarts
from pyro_helm.training.schedules import by_name
from pyro_helm.training.settings import Settings
from pyro_helm.training.steps import STEPS


def made_folder(out: Any) -> Path:
    """The folder, made if there is none; ValueError if it can't be, so before the training."""
    if not isinstance(out, (str, os.PathLike)):
        raise TypeError(f"out must be the path of a folder, got {out!r}")
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileExistsError(f"out must be a folder, but {folder} is a file") from error
    except NotADirectoryError as error:
        raise NotADirectoryError(f"out must be a folder, but a part of {folder} is a file") from error
    except (OSError, ValueError) as error:
        raise type(error)(f"out must be a folder, and {folder} can't be made: {error}") from error
    return folder


def made_optimizer(
    optimizer: Any, parameters: list[nn.Parameter], learning_rate: float | None
) -> torch.optim.Optimizer:
    """The optimiser of the parameters; TypeError for what does not make one of torch's kind."""
    expected = "optimizer must be a class such as torch.optim.Adam, or a function that makes one from the parameters"
    if isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"{expected}; got an {type(optimizer).__name__} that is made already")
    if isinstance(optimizer, PyroOptim):
        raise TypeError(f"{expected}; got one of Pyro's own, which is for pyro.infer.SVI")
    if not callable(optimizer):
        raise TypeError(f"{expected}; got {optimizer!r}")
    try:
        made = optimizer(parameters) if learning_rate is None else optimizer(parameters, lr=learning_rate)
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError) as error:
        kind = ValueError if isinstance(error, (ValueError, RuntimeError)) else TypeError
        raise kind(f"the optimizer could not be made from the parameters: {error}") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(f"{expected}; what it made is a {type(made).__name__}")
    return made


def checked_optimizer(
    settings: Settings, restarts: Restarts, scheme: Scheme, *, rows: int, batch_size: int
) -> torch.optim.Optimizer:
    """The optimiser of the settings, refused where it does not go with the rest."""
    descent = made_optimizer(settings.optimizer, restarts.parameters, settings.learning_rate)
    check_separable(descent, restarts.number)
    check_full_batch(descent, scheme, rows, batch_size, settings.schedule)
    check_can_clip(descent, settings.max_gradient_norm)
    return descent


def check_step(step: str | None, scheme: Scheme) -> None:
    """Refuse an unknown kind of step, or to capture a scheme that does not do the same in every step."""
    if step is None:
        return
    if not isinstance(step, str) or step not in STEPS:
        raise ValueError(f"step must be one of {', '.join(STEPS)}; got {step!r}")
    if step != "eager" and not scheme.captures:
        raise ValueError(
            f"{type(scheme).__name__} does not do the same tensor operations in every step, so its steps cannot be "
            f"{step}; use step='eager'"
        )


def check_distribution(name: str, distribution: PatternDistribution) -> None:
    """Refuse probabilities that are not one per pattern, negative, or of another sum than 1."""
    patterns, probabilities = distribution.patterns, distribution.probabilities
    check_rows(patterns, name=f"patterns of {name}")
    if not isinstance(probabilities, Tensor):
        raise TypeError(f"probabilities of {name} must be a tensor, got {type(probabilities).__name__}")
    if probabilities.shape != patterns.shape[:1]:
        raise ValueError(
            f"{name} has {len(patterns)} patterns and probabilities of shape {list(probabilities.shape)}, expected one "
            "for each"
        )
    total = float(probabilities.sum())
    if not bool((probabilities >= 0).all()) or not abs(total - 1) < 1e-5:
        raise ValueError(f"probabilities of {name} must be 0 or more and sum to 1, their sum is {total}")


def check_programs(model: Any, guide: Any, scheme: Any) -> None:
    """Refuse what is no module or scheme, and programs that differ."""
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be an inference scheme such as ReweightedWakeSleep(), got {scheme!r}")
    if guide is None and scheme.needs_guide:
        raise TypeError(f"{type(scheme).__name__} draws from a guide, got None; without one use Gibbs or ExactEM")
    for part, module in (("model", model), ("guide", guide)):
        if not isinstance(module, nn.Module) and not (part == "guide" and module is None):
            raise TypeError(
                f"{part} must be a torch or Pyro module so that fit can find its parameters, got "
                f"{type(module).__name__}; train plain functions with pyro.infer.SVI(model, guide, optim, loss=scheme)"
            )
        _check_has_shapes(part, module)
    check_sizes_agree(model, guide)
    check_names_differ(model, guide)


def check_can_observe(
    model: nn.Module,
    observations: Mapping[str, Tensor],
    name: str,
    batch_size: int | None,
    *,
    is_part: bool = False,
) -> None:
    """Refuse data that the model's own sites can't take, shown to it as in training, in evaluation mode.

    Args:
        model: generative model.
        observations: by name, each ``[data, ...]``.
        name: of the argument, for errors.
        batch_size: rows of a minibatch; None for all.
        is_part: whether there are more rows than these.

    """
    with evaluating(model), own_param_store(), Buffers([model]).restored():
        divided = batch_size is not None
        check_data(model, observations, name=name, divided=divided, rows_at_once=batch_size or 0, is_part=is_part)


def _check_has_shapes(part: str, module: nn.Module | None) -> None:
    if module is not None and any(map(nn.parameter.is_lazy, module.parameters())):
        raise ValueError(f"{part} has parameters without a shape yet (a lazy module); call it once before the training")


def made_scheduler(
    schedule: Any, descent: torch.optim.Optimizer, num_epochs: int
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """The scheduler of the optimiser, if any; ValueError for an unknown one, or one that would couple the restarts."""
    if schedule is None:
        return None
    expected = "schedule must be a name, or a function that makes a torch scheduler from the optimiser"
    if isinstance(schedule, str):
        schedule = by_name(schedule, num_epochs)
    if not callable(schedule) or isinstance(schedule, torch.optim.lr_scheduler.LRScheduler):
        raise TypeError(f"{expected}, got {schedule!r}")
    scheduler = schedule(descent)
    if not isinstance(scheduler, (torch.optim.lr_scheduler.LRScheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)):
        raise TypeError(f"{expected}; what it made is a {type(scheduler).__name__}")
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ValueError(
            "ReduceLROnPlateau follows a single metric and would couple the restarts; use a schedule over epochs"
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


def check_can_clip(descent: torch.optim.Optimizer, max_gradient_norm: float | None) -> None:
    """Refuse gradients that a line search would not find in the loss."""
    if max_gradient_norm is not None and isinstance(descent, FullBatchOptimizer):
        raise ValueError(
            f"{type(descent).__name__} searches along the loss's own gradient, so max_gradient_norm must be None"
        )


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


def try_out(
    model: nn.Module, guide: nn.Module | None, batch: Mapping[str, Tensor], scheme: Scheme, num_restarts: int
) -> None:
    """One loss of a batch, each ``[data, ...]``, with all of Pyro's checks, which in training would only cost time."""
    try:
        with (
            forked_rng(0, next(iter(batch.values())).device),
            torch.no_grad(),
            pyro.validation_enabled(True),
            explained(batch) as shown,
        ):
            scheme.restart_losses(model, guide, observations=shown)
    except ValueError as error:
        # parameters of one restart that are out of range are no reason to end the others: it will be marked failed
        if num_restarts == 1 or not str(error).startswith("Expected parameter"):
            raise
