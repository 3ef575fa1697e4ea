"""``fit``: the one training loop, for every scheme."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyro
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from pyro_helm.checkpoint import FILE_NAME, save
from pyro_helm.data import check_binary
from pyro_helm.likelihoods.importance import importance
from pyro_helm.placement import forked_rng, placement
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
        history: tidy frame with the columns of :data:`pyro_helm.tables.COLUMNS`; in every epoch and restart the metrics
            ``train_bound`` (the scheme's own), and with validation data ``valid_elbo`` and
            ``valid_log_likelihood``; nats per datum.
        restarts: frame with one row per restart: ``restart, best_epoch, failed``.
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
    for part, module in (("model", model), ("guide", guide)):
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"{part} must be a torch or Pyro module so that fit can find its parameters, got "
                f"{type(module).__name__}; train plain functions with pyro.infer.SVI(model, guide, optim, loss=scheme)"
            )
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be an inference scheme such as ReweightedWakeSleep(), got {scheme!r}")
    for setting, value in (("num_epochs", num_epochs), ("batch_size", batch_size), ("valid_samples", valid_samples)):
        if value < 1:
            raise ValueError(f"{setting} must be at least 1, got {value}")
    if patience is not None and valid is None:
        raise ValueError("patience needs validation data to judge by, but valid is None")
    sizes = getattr(model, "sizes", None)
    for name, tensor in (("data", data), ("valid", valid)):
        if tensor is not None:
            check_binary(tensor, name=name, width=None if sizes is None else sizes[0])

    model.to(device=device, dtype=dtype)
    guide.to(device=device, dtype=dtype)
    place = placement(model)
    data = data.to(**place)
    valid = None if valid is None else valid.to(**place)
    parameters = list(dict.fromkeys([*model.parameters(), *guide.parameters()]))
    restarts = _Restarts(parameters, getattr(model, "restarts", 1))
    descent = optimizer(parameters, lr=learning_rate)
    _check_separable(descent, restarts.number)
    scheduler = None if schedule is None else schedule(descent)
    labels = {"dataset": dataset, **describe_machine(model), "scheme": scheme.name, "seed": seed}
    rows: list[dict[str, Any]] = []
    interrupted = False
    seconds, saved = 0.0, time.monotonic()

    def write() -> None:
        if out is not None:
            with restarts.best_in_place():
                save(Path(out) / FILE_NAME, model, guide)
            write_table(tidy(rows), Path(out) / "history")

    with forked_rng(seed, place["device"]), _Bar(labels, num_epochs, shown=progress) as bar:
        try:
            for epoch in range(1, num_epochs + 1):
                began = time.perf_counter()
                train_bound = _train_epoch(
                    model, guide, data, scheme, descent, restarts, batch_size, validate=epoch == 1
                )
                if scheduler is not None:
                    scheduler.step()
                seconds += time.perf_counter() - began
                metrics: _Metrics = {"train_bound": (train_bound, None)}
                if valid is not None:
                    metrics |= _validate(model, guide, valid, valid_samples, seed)
                score, _ = metrics["valid_log_likelihood" if valid is not None else "train_bound"]
                restarts.record(epoch, score, keep_last=valid is None, patience=patience)
                rows += _rows(metrics, {**labels, "epoch": epoch, "seconds": seconds})
                bar.advance(score)
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
    restarts: _Restarts,
    batch_size: int,
    *,
    validate: bool,
) -> Tensor:
    """One pass over the shuffled data; the scheme's bound per restart, averaged over it."""
    bound = data.new_zeros(restarts.number)
    for step, rows in enumerate(torch.randperm(len(data), device=data.device).split(batch_size)):
        losses = data.new_zeros(())

        def closure(rows: Tensor = rows) -> Tensor:
            nonlocal losses
            descent.zero_grad()
            losses = scheme.restart_losses(model, guide, observations={"x": data[rows]})
            loss = losses.sum() / len(rows)
            loss.backward()
            return loss

        # one validated step shows what is wrong with a program; after that the checks would only cost time
        with pyro.validation_enabled(validate and step == 0):
            descent.step(closure)  # type: ignore[arg-type]
        restarts.guard(losses.detach())
        bound -= losses.detach()
    return bound / len(data)


def _validate(model: nn.Module, guide: nn.Module, valid: Tensor, num_samples: int, seed: int) -> _Metrics:
    # the same draws in every epoch: what changes is the machine, and training draws are not affected
    with forked_rng(seed, valid.device):
        estimate = importance(model, guide, valid, num_samples=num_samples)
    return {
        name: (value.mean(-1), value.std(-1) / len(valid) ** 0.5)
        for name, value in (("valid_elbo", estimate.elbo), ("valid_log_likelihood", estimate.log_likelihood))
    }


def _rows(metrics: _Metrics, labels: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for metric, (values, stderrs) in metrics.items():
        errors = [None] * len(values) if stderrs is None else stderrs.tolist()
        for restart, (value, stderr) in enumerate(zip(values.tolist(), errors, strict=True)):
            yield {**labels, "restart": restart, "metric": metric, "value": value, "stderr": stderr}


class _Restarts:
    """The best parameters of each restart so far, and which restarts are still active."""

    def __init__(self, parameters: list[nn.Parameter], number: int) -> None:
        for parameter in parameters:
            if number > 1 and (parameter.dim() == 0 or len(parameter) != number):
                raise ValueError(
                    f"with {number} restarts every parameter must have them as its first dimension, got a parameter of "
                    f"shape {list(parameter.shape)}"
                )
        self.number = number
        self.parameters = parameters
        self.best = [parameter.detach().clone() for parameter in parameters]
        device = parameters[0].device
        self.best_score = torch.full((number,), -torch.inf, device=device)
        self.best_epoch = torch.zeros(number, dtype=torch.long, device=device)
        self.active = torch.ones(number, dtype=torch.bool, device=device)
        self.failed = torch.zeros(number, dtype=torch.bool, device=device)

    def guard(self, losses: Tensor) -> None:
        """Take restarts with a non-finite loss or parameter back to their best, and mark them failed."""
        if losses.shape != (self.number,):
            raise ValueError(
                f"the scheme gave losses of shape {list(losses.shape)} for {self.number} restarts; model.restarts and "
                "the plate at dim=-2 must agree"
            )
        totals = [parameter.detach().reshape(self.number, -1).sum(1) for parameter in self.parameters]
        finite = torch.stack([losses, *totals]).isfinite().all(0)
        if not bool(finite.all()):
            self.failed |= ~finite
            self.active &= finite
            self.restore(~finite)

    def record(self, epoch: int, score: Tensor, *, keep_last: bool, patience: int | None) -> None:
        """Keep the parameters of the active restarts that have improved, and stop those out of patience."""
        improved = self.active & score.isfinite() & (keep_last | (score > self.best_score))
        self.best_score = torch.where(improved, score, self.best_score)
        self.best_epoch[improved] = epoch
        for best, parameter in zip(self.best, self.parameters, strict=True):
            best.copy_(torch.where(self._along(improved, best), parameter.detach(), best))
        if patience is not None:
            self.active &= epoch - self.best_epoch < patience

    def restore(self, which: Tensor) -> None:
        """Set the parameters of these restarts to their best."""
        with torch.no_grad():
            for best, parameter in zip(self.best, self.parameters, strict=True):
                parameter.copy_(torch.where(self._along(which, best), best, parameter))

    @contextmanager
    def best_in_place(self) -> Iterator[None]:
        """Every restart at its best for a while, then back to where its training stands."""
        current = [parameter.detach().clone() for parameter in self.parameters]
        self.restore(torch.ones_like(self.active))
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, current, strict=True):
                    parameter.copy_(value)

    def table(self) -> pd.DataFrame:
        """One row per restart: ``restart, best_epoch, failed``."""
        return pd.DataFrame(
            {
                "restart": range(self.number),
                "best_epoch": self.best_epoch.tolist(),
                "failed": self.failed.tolist(),
            }
        )

    def warn_of_failures(self) -> None:
        """Say which restarts have failed."""
        failed = self.failed.nonzero().flatten().tolist()
        if failed:
            warnings.warn(
                f"restarts {failed} of {self.number} failed: their loss or parameters became non-finite; they "
                "keep their best finite parameters",
                RuntimeWarning,
                stacklevel=3,
            )

    def _along(self, which: Tensor, parameter: Tensor) -> Tensor:
        return which if self.number == 1 else which.reshape(-1, *[1] * (parameter.dim() - 1))


def _check_separable(descent: torch.optim.Optimizer, restarts: int) -> None:
    coupling = tuple(
        getattr(torch.optim, name) for name in ("LBFGS", "Adafactor", "Muon") if hasattr(torch.optim, name)
    )
    if restarts > 1 and isinstance(descent, coupling):
        raise ValueError(
            f"{type(descent).__name__} mixes the entries of a parameter and so would mix its {restarts} restarts; use "
            "an elementwise optimiser such as Adam, or one restart"
        )


class _Bar:
    """Progress bar with the scheme, the epoch and the bound of the best restart."""

    def __init__(self, labels: dict[str, Any], num_epochs: int, *, shown: bool) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs, bound {task.fields[bound]} nats"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        description = " ".join(part for part in (labels["dataset"], labels["imaging"], labels["scheme"]) if part)
        self.task = self.progress.add_task(description, total=num_epochs, bound="")

    def __enter__(self) -> _Bar:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def advance(self, score: Tensor) -> None:
        finite = score[score.isfinite()]
        bound = f"{float(finite.max()):.3f}" if len(finite) else "none"
        self.progress.update(self.task, advance=1, bound=bound)
