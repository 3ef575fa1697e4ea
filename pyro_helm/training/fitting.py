"""``fit``: the one training loop, for every scheme."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_helm.data.sets import PatternDistribution
from pyro_helm.likelihoods.importance import importance_sampling
from pyro_helm.programs.layered import is_layered
from pyro_helm.programs.module_state import Buffers, evaluating, one_at_a_time, training
from pyro_helm.programs.param_store import check_all_are_trained, own_param_store
from pyro_helm.runtime.device import place_programs, placement, wait_for
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.runtime.tables import tidy, write_table
from pyro_helm.schemes import Scheme
from pyro_helm.training.checkpoint import FILE_NAME, save
from pyro_helm.training.checks import (
    Settings,
    cases_of,
    check_full_batch,
    check_labels,
    check_programs,
    check_separable,
    check_step,
    checked_settings,
    made_folder,
    made_optimizer,
    made_scheduler,
    try_out,
)
from pyro_helm.training.history import describe_machine
from pyro_helm.training.progress import Bar
from pyro_helm.training.restarts import Restarts
from pyro_helm.training.steps import Step, training_step

FUSED_ADAM = partial(torch.optim.Adam, lr=0.01, fused=True)
SECONDS_BETWEEN_SAVES = 60.0


@dataclass(frozen=True)
class Result:
    """A trained machine.

    Attributes:
        model: the model, with the best parameters of each restart.
        guide: its guide, likewise.
        history: tidy frame with the columns of :data:`pyro_helm.runtime.tables.COLUMNS`; of every restart, in every
            epoch until it stops or fails, the metrics ``train_bound`` (the scheme's own), and with validation data
            ``valid_elbo`` and ``valid_log_likelihood``; nats per datum.
        summary: frame with one row per restart: ``restart, best_epoch, best, failed``, ``best`` being
            the ``valid_log_likelihood`` of the parameters that were kept, or without validation their ``train_bound``.
        interrupted: whether Ctrl-C ended the training.

    """

    model: nn.Module
    guide: nn.Module | None
    history: pd.DataFrame
    summary: pd.DataFrame
    interrupted: bool


def fit(
    model: nn.Module,
    guide: nn.Module | None,
    data: Tensor | PatternDistribution,
    *,
    scheme: Scheme,
    valid: Tensor | PatternDistribution | None = None,
    num_epochs: int = 50,
    max_seconds: float | None = None,
    batch_size: int | None = 100,
    optimizer: Callable[..., torch.optim.Optimizer] = FUSED_ADAM,
    learning_rate: float | None = None,
    schedule: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None = None,
    patience: int | None = None,
    valid_samples: int = 10,
    step: str = "eager",
    seed: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    dataset: str = "",
    out: str | Path | None = None,
    progress: bool = True,
) -> Result:
    """Train a model and its guide with an inference scheme.

    The programs train in training mode, are validated in evaluation mode, and are left in the mode they had. Buffers,
    running statistics say, are kept with the parameters of the same epoch. Calls from several threads run one after
    another: Pyro's handlers and torch's random numbers belong to the whole process.

    Every restart trains by itself: one whose loss, gradient or parameters become non-finite goes back to its best ones
    and is marked failed, and the others go on. Those that have stopped or failed leave the batch when they are half of
    it, and their steps cost nothing from then on; not if programs are not layered ones, steps compiled (or captured, on
    a GPU), or the scheme one that can't be captured. Ctrl-C ends the training with what there is.

    Args:
        model: called with ``observations={"x": batch}``. With ``model.restarts`` above 1, the first dimension of every
            parameter is the restart.
        guide: called likewise; may be None for a scheme that needs none, without ``valid``.
        data: ``[data, units]`` of zeros and ones; or a :class:`PatternDistribution`, whose patterns are then the
            data, each counting in proportion to its probability.
        scheme: inference scheme; its loss is averaged over the data of a minibatch.
        valid: validation data, likewise; the parameters kept are those of each restart's best ``valid_log_likelihood``,
            estimated with the same random numbers in every epoch. Without, the last ones are kept.
        num_epochs: passes over the data.
        max_seconds: end the training after the epoch in which this is reached; None for no such limit.
        batch_size: data per minibatch, shuffled anew each epoch; None for all of them, in their order. A program that
            knows something of each row, such as a length or label that it is closed over, needs None.
        optimizer: called with the parameters, and ``lr`` if ``learning_rate`` is given; any of torch's, or a partial of
            one. It must treat every parameter entry by itself unless there is a single restart. For schemes that do
            not sample, with all data in a step, :class:`ConjugateGradient` and :class:`LBFGS` minimise each restart by
            itself; their line searches need ``dtype=torch.float64``.
        learning_rate: ``lr`` of the optimiser; None for its own, which is 0.01 of the default, Adam.
        schedule: called with the optimiser; the scheduler that it returns is stepped after each epoch.
        patience: a restart stops after so many epochs without a better ``valid_log_likelihood``; None for never.
        valid_samples: importance samples per validation datum.
        step: ``"eager"``; ``"captured"``, which records the tensor operations of one step and replays them without
            running the programs; or ``"compiled"``, which fuses these by torch's compiler, a matter of ten seconds or
            more. The numbers are the same, within rounding if compiled. Not for programs that take another path, or
            read another Python number, from one call to the next. Hooks of the optimiser, and those after a gradient's
            accumulation, run in all three; those on a gradient (``register_hook``) in eager steps alone.
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
        ValueError: for data that are not zeros and ones, settings out of range or that don't go together, parameters
            or changing buffers without a restart dimension, or parameters that are all frozen.
        TypeError: if the model or guide is not a module, or the scheme not a :class:`Scheme`.

    >>> data = load_data("bars")
    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> result = fit(model, guide, data.train[:200], scheme=WakeSleep(), num_epochs=2, progress=False)
    >>> result.history.metric.unique().tolist()
    ['train_bound']
    """
    given = Settings(num_epochs, max_seconds, batch_size, valid_samples, patience, seed, learning_rate)
    settings = checked_settings(given, has_valid=valid is not None)
    check_labels(dataset, progress)
    cases, weights = cases_of("data", data)
    valid_cases, valid_weights = (None, None) if valid is None else cases_of("valid", valid)
    check_programs(model, guide, scheme, cases, valid_cases)
    check_step(step, scheme)
    folder = None if out is None else made_folder(out)  # what can't be written to is found before the training
    with one_at_a_time():
        programs = [program for program in (model, guide) if program is not None]
        place_programs(programs, device, dtype)
        place = placement(model)
        cases = cases.to(**place)
        valid_cases, weights, valid_weights = (
            None if tensor is None else tensor.to(**place) for tensor in (valid_cases, weights, valid_weights)
        )
        batch_size = min(settings.batch_size or len(cases), len(cases))
        parameters = list(dict.fromkeys(parameter for program in programs for parameter in program.parameters()))
        restarts = Restarts(parameters, getattr(model, "restarts", 1), Buffers(programs))
        descent = made_optimizer(optimizer, parameters, settings.learning_rate)
        check_separable(descent, restarts.number)
        check_full_batch(descent, scheme, len(cases), batch_size, schedule)
        scheduler = made_scheduler(schedule, descent)
        labels = {"dataset": dataset, **describe_machine(model), "scheme": scheme.name, "seed": settings.seed}
        rows: list[dict[str, Any]] = []
        interrupted = False
        seconds, saved = 0.0, time.monotonic()

        def write() -> None:
            if folder is not None and rows:
                with restarts.best_in_place():
                    save(folder / FILE_NAME, model, guide)
                write_table(tidy(rows), folder / "history")

        def losses(rows: Tensor) -> Tensor:
            with nullcontext() if weights is None else poutine.scale(scale=weights[rows]):
                return scheme.restart_losses(model, guide, observations={"x": cases[rows]})

        changes = schedule is not None
        new_step = partial(
            training_step,
            step,
            losses,
            parameters,
            descent,
            restarts.guard,
            settings_change=changes,
            buffers=restarts.buffers,
        )
        take_step = new_step()
        # restarts can't be removed from user-defined programs or from schemes that remember each; to compile again
        # would take longer than it saves, and a step launched at once has its parameters where they are
        may_be_made_anew = step == "eager" or (step == "captured" and place["device"].type == "cpu")
        narrows = all(map(is_layered, programs)) and scheme.captures and may_be_made_anew

        with (
            training(*programs),
            own_param_store(),
            forked_rng(settings.seed, place["device"]),
            Bar(labels, settings.num_epochs, shown=progress) as bar,
            pyro.validation_enabled(False),
        ):
            try:
                with restarts.buffers.restored():
                    try_out(model, guide, cases[:batch_size], scheme, restarts.number)
                    restarts.check_buffers()
                check_all_are_trained(parameters)
                for epoch in range(1, settings.num_epochs + 1):
                    began = time.perf_counter()
                    active = restarts.active.clone()
                    with restarts.batched(programs):
                        train_bound = _train_epoch(take_step, cases, restarts, batch_size)
                    if scheduler is not None:
                        scheduler.step()
                    wait_for(place["device"])
                    seconds += time.perf_counter() - began
                    metrics: _Metrics = {"train_bound": (train_bound, None)}
                    if valid_cases is not None and guide is not None:
                        metrics |= _validate(
                            model, guide, valid_cases, valid_weights, settings.valid_samples, settings.seed
                        )
                    score, _ = metrics["valid_log_likelihood" if valid is not None else "train_bound"]
                    restarts.record(epoch, score, keep_last=valid is None, patience=settings.patience)
                    if narrows and restarts.narrow(descent):
                        take_step = new_step()
                    rows += _rows(metrics, active, {**labels, "epoch": epoch, "seconds": seconds})
                    bar.advance(restarts.best_score)
                    if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                        write()
                        saved = time.monotonic()
                    if not bool(restarts.active.any()) or (
                        settings.max_seconds is not None and seconds >= settings.max_seconds
                    ):
                        break
            except KeyboardInterrupt:
                interrupted = True
        restarts.restore()
        write()
        restarts.warn_of_failures()
        return Result(model, guide, tidy(rows), restarts.table(), interrupted)


_Metrics = dict[str, tuple[Tensor, Tensor | None]]


def _train_epoch(step: Step, data: Tensor, restarts: Restarts, batch_size: int) -> Tensor:
    """One pass over the data; the scheme's bound averaged over it, NaN of restarts out of the batch.

    Minibatches are of shuffled rows; where all rows make one batch, they are in the caller's order.
    """
    total = data.new_zeros(len(restarts.in_batch))
    order = torch.randperm if batch_size < len(data) else torch.arange
    for rows in order(len(data), device=data.device).split(batch_size):
        total -= step(rows)
    bound = data.new_full((restarts.number,), torch.nan)
    bound[restarts.in_batch] = total / len(data)
    return bound


def _validate(
    model: nn.Module, guide: nn.Module, valid: Tensor, weights: Tensor | None, num_samples: int, seed: int
) -> _Metrics:
    # the same draws in every epoch: what changes is the machine, and training draws are not affected
    with evaluating(model, guide), forked_rng(seed, valid.device):
        estimate = importance_sampling(model, guide, valid, num_samples=num_samples)
    metrics = {"valid_elbo": estimate.elbo, "valid_log_likelihood": estimate.log_likelihood}
    if weights is not None:  # a whole distribution, not cases drawn at random
        return {name: ((weights * value).mean(-1), None) for name, value in metrics.items()}
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
