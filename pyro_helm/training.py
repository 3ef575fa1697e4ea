"""``fit``: the one training loop, for every scheme."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyro
import torch
from torch import Tensor, nn

from pyro_helm.checkpoint import FILE_NAME, save
from pyro_helm.data import check_binary
from pyro_helm.layers import check_sizes_agree, visible_units
from pyro_helm.likelihoods.importance import importance
from pyro_helm.placement import (
    check_all_are_trained,
    check_names_differ,
    checked_device,
    forked_rng,
    own_param_store,
    placement,
)
from pyro_helm.progress import Bar
from pyro_helm.restarts import Restarts
from pyro_helm.schemes import Scheme
from pyro_helm.tables import describe_machine, tidy, write_table

FUSED_ADAM = partial(torch.optim.Adam, fused=True)
SECONDS_BETWEEN_SAVES = 60.0


@dataclass(frozen=True)
class Result:
    """A trained machine.

    Attributes:
        model: the model, with the best parameters of each restart.
        guide: its guide, likewise.
        history: tidy frame with the columns of :data:`pyro_helm.tables.COLUMNS`; of every restart, in every epoch
            until it stops or fails, the metrics ``train_bound`` (the scheme's own), and with validation data
            ``valid_elbo`` and ``valid_log_likelihood``; nats per datum.
        restarts: frame with one row per restart: ``restart, best_epoch, best, failed``, ``best`` being
            the ``valid_log_likelihood`` of the parameters that were kept, or without validation their ``train_bound``.
        interrupted: whether Ctrl-C ended the training.

    """

    model: nn.Module
    guide: nn.Module
    history: pd.DataFrame
    restarts: pd.DataFrame
    interrupted: bool


def fit(
    model: nn.Module,
    guide: nn.Module,
    data: Tensor,
    *,
    scheme: Scheme,
    valid: Tensor | None = None,
    num_epochs: int = 50,
    max_seconds: float | None = None,
    batch_size: int = 100,
    optimizer: Callable[..., torch.optim.Optimizer] = FUSED_ADAM,
    learning_rate: float = 0.01,
    schedule: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None = None,
    patience: int | None = None,
    valid_samples: int = 10,
    seed: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    dataset: str = "",
    out: str | Path | None = None,
    progress: bool = True,
) -> Result:
    """Train a model and its guide with an inference scheme.

    Every restart trains by itself: a restart whose loss or parameters become non-finite goes back to its best
    parameters and is marked failed, and the others go on. Ctrl-C ends the training with what there is.

    Args:
        model: called with ``observations={"x": batch}``. With ``model.restarts`` above 1, the first dimension of every
            parameter is the restart.
        guide: called likewise.
        data: ``[data, units]`` of zeros and ones.
        scheme: inference scheme; its loss is averaged over the data of a minibatch.
        valid: validation data; the parameters kept are those of each restart's best ``valid_log_likelihood``, estimated
            with the same random numbers in every epoch. Without, the last ones are kept.
        num_epochs: passes over the data.
        max_seconds: end the training after the epoch in which this is reached; None for no such limit.
        batch_size: data per minibatch, shuffled anew each epoch.
        optimizer: called with the parameters and ``lr``; any of torch's, or a partial of one. It must treat every
            parameter entry by itself unless there is a single restart.
        learning_rate: ``lr`` of the optimiser.
        schedule: called with the optimiser; the scheduler that it returns is stepped after each epoch.
        patience: a restart stops after so many epochs without a better ``valid_log_likelihood``; None for never.
        valid_samples: importance samples per validation datum.
        seed: of minibatches and draws; the caller's random state is left alone.
        device: where to train; None leaves the model and guide where they are.
        dtype: floating-point type to train in; None leaves it as it is.
        dataset: name for the history's column of that name.
        out: folder for ``machine.safetensors``, ``history.parquet`` and ``history.csv``, saved now and then and at the
            end, each file whole or not at all.
        progress: show a progress bar on standard error.

    Returns:
        the trained machine and its history; ``model`` and ``guide`` themselves are trained in place.

    Raises:
        ValueError: for data that are not zeros and ones, settings out of range, or parameters without a restart
            dimension.
        TypeError: if the model or guide is not a module, or the scheme not a :class:`Scheme`.

    >>> data = load_data("bars")
    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> result = fit(model, guide, data.train[:200], scheme=WakeSleep(), num_epochs=2, progress=False)
    >>> result.history.metric.unique().tolist()
    ['train_bound']
    """
    _check_settings(num_epochs, max_seconds, batch_size, valid_samples, patience, seed, valid)
    _check_programs(model, guide, scheme, data, valid)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)  # what can't be written to is found before the training

    model.to(device=checked_device(device), dtype=dtype)
    guide.to(device=checked_device(device), dtype=dtype)
    place = placement(model)
    data = data.to(**place)
    valid = None if valid is None else valid.to(**place)
    parameters = list(dict.fromkeys([*model.parameters(), *guide.parameters()]))
    restarts = Restarts(parameters, getattr(model, "restarts", 1))
    descent = optimizer(parameters, lr=learning_rate)
    _check_separable(descent, restarts.number)
    scheduler = None if schedule is None else _checked_scheduler(schedule(descent))
    labels = {"dataset": dataset, **describe_machine(model), "scheme": scheme.name, "seed": seed}
    rows: list[dict[str, Any]] = []
    interrupted = False
    seconds, saved = 0.0, time.monotonic()

    def write() -> None:
        if out is not None and rows:
            with restarts.best_in_place():
                save(Path(out) / FILE_NAME, model, guide)
            write_table(tidy(rows), Path(out) / "history")

    with (
        own_param_store(),
        forked_rng(seed, place["device"]),
        Bar(labels, num_epochs, shown=progress) as bar,
        pyro.validation_enabled(False),
    ):
        try:
            _try_out(model, guide, data[:batch_size], scheme, restarts.number)
            check_all_are_trained(parameters)
            for epoch in range(1, num_epochs + 1):
                began = time.perf_counter()
                active = restarts.active.clone()
                train_bound = _train_epoch(model, guide, data, scheme, descent, restarts, batch_size)
                if scheduler is not None:
                    scheduler.step()
                seconds += time.perf_counter() - began
                metrics: _Metrics = {"train_bound": (train_bound, None)}
                if valid is not None:
                    metrics |= _validate(model, guide, valid, valid_samples, seed)
                score, _ = metrics["valid_log_likelihood" if valid is not None else "train_bound"]
                restarts.record(epoch, score, keep_last=valid is None, patience=patience)
                rows += _rows(metrics, active, {**labels, "epoch": epoch, "seconds": seconds})
                bar.advance(restarts.best_score)
                if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                    write()
                    saved = time.monotonic()
                if not bool(restarts.active.any()) or (max_seconds is not None and seconds >= max_seconds):
                    break
        except KeyboardInterrupt:
            interrupted = True
    restarts.restore(torch.ones_like(restarts.active))
    write()
    restarts.warn_of_failures()
    return Result(model, guide, tidy(rows), restarts.table(), interrupted)


_Metrics = dict[str, tuple[Tensor, Tensor | None]]


def _train_epoch(
    model: nn.Module,
    guide: nn.Module,
    data: Tensor,
    scheme: Scheme,
    descent: torch.optim.Optimizer,
    restarts: Restarts,
    batch_size: int,
) -> Tensor:
    """One pass over the shuffled data; the scheme's bound per restart, averaged over it."""
    bound = data.new_zeros(restarts.number)
    for rows in torch.randperm(len(data), device=data.device).split(batch_size):
        losses = data.new_zeros(())

        def closure(rows: Tensor = rows) -> Tensor:
            nonlocal losses
            descent.zero_grad()
            losses = scheme.restart_losses(model, guide, observations={"x": data[rows]})
            loss = losses.sum() / len(rows)
            loss.backward()
            return loss

        descent.step(closure)  # type: ignore[arg-type]
        restarts.guard(losses.detach())
        bound -= losses.detach()
    return bound / len(data)


def _try_out(model: nn.Module, guide: nn.Module, batch: Tensor, scheme: Scheme, num_restarts: int) -> None:
    """One loss with all of Pyro's checks, which in training would only cost time."""
    try:
        with forked_rng(0, batch.device), torch.no_grad(), pyro.validation_enabled(True):
            scheme.restart_losses(model, guide, observations={"x": batch})
    except ValueError as error:
        # parameters of one restart that are out of range are no reason to end the others: it will be marked failed
        if num_restarts == 1 or not str(error).startswith("Expected parameter"):
            raise


def _validate(model: nn.Module, guide: nn.Module, valid: Tensor, num_samples: int, seed: int) -> _Metrics:
    # the same draws in every epoch: what changes is the machine, and training draws are not affected
    with forked_rng(seed, valid.device):
        estimate = importance(model, guide, valid, num_samples=num_samples)
    metrics = {"valid_elbo": estimate.elbo, "valid_log_likelihood": estimate.log_likelihood}
    return {
        name: (value.mean(-1), value.std(-1) / len(valid) ** 0.5 if len(valid) > 1 else None)
        for name, value in metrics.items()
    }


def _rows(metrics: _Metrics, active: Tensor, labels: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of the restarts that were active in this epoch."""
    for metric, (values, stderrs) in metrics.items():
        errors = [None] * len(values) if stderrs is None else stderrs.tolist()
        for restart, value in enumerate(values.tolist()):
            if active[restart]:
                yield {**labels, "restart": restart, "metric": metric, "value": value, "stderr": errors[restart]}


def _check_settings(
    num_epochs: int,
    max_seconds: float | None,
    batch_size: int,
    valid_samples: int,
    patience: int | None,
    seed: int,
    valid: Tensor | None,
) -> None:
    at_least_one = {"num_epochs": num_epochs, "batch_size": batch_size, "valid_samples": valid_samples}
    for setting, value in (at_least_one | ({} if patience is None else {"patience": patience})).items():
        if value < 1:
            raise ValueError(f"{setting} must be at least 1, got {value}")
    if max_seconds is not None and not max_seconds > 0:
        raise ValueError(f"max_seconds must be positive, got {max_seconds}")
    if not 0 <= seed < 2**62:
        raise ValueError(f"seed must be from 0 to 2^62 - 1, got {seed}")
    if patience is not None and valid is None:
        raise ValueError("patience needs validation data to judge by, but valid is None")


def _check_programs(model: Any, guide: Any, scheme: Any, data: Tensor, valid: Tensor | None) -> None:
    for part, module in (("model", model), ("guide", guide)):
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"{part} must be a torch or Pyro module so that fit can find its parameters, got "
                f"{type(module).__name__}; train plain functions with pyro.infer.SVI(model, guide, optim, loss=scheme)"
            )
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be an inference scheme such as ReweightedWakeSleep(), got {scheme!r}")
    check_sizes_agree(model, guide)
    check_names_differ(model, guide)
    for name, tensor in (("data", data), ("valid", valid)):
        if tensor is not None:
            check_binary(tensor, name=name, width=visible_units(model))


def _checked_scheduler(scheduler: torch.optim.lr_scheduler.LRScheduler) -> torch.optim.lr_scheduler.LRScheduler:
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ValueError(
            "ReduceLROnPlateau waits for one number and so would couple the restarts; use a schedule over epochs"
        )
    return scheduler


def _check_separable(descent: torch.optim.Optimizer, restarts: int) -> None:
    coupling = tuple(
        getattr(torch.optim, name) for name in ("LBFGS", "Adafactor", "Muon") if hasattr(torch.optim, name)
    )
    if restarts > 1 and isinstance(descent, coupling):
        raise ValueError(
            f"{type(descent).__name__} mixes the entries of a parameter and so would mix its {restarts} restarts; use "
            "an elementwise optimiser such as Adam, or one restart"
        )
