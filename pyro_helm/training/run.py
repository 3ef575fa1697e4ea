"""One training, epoch by epoch: what ``fit`` runs, to be driven by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyro_helm.data.sets import PatternDistribution
from pyro_helm.programs.layered import is_layered
from pyro_helm.programs.module_state import Buffers, one_at_a_time, training
from pyro_helm.programs.param_store import check_all_are_trained, own_param_store
from pyro_helm.runtime.device import place_programs, placement, wait_for
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.runtime.tables import write_table
from pyro_helm.schemes import Scheme
from pyro_helm.training.cases import cases_of, with_missing
from pyro_helm.training.checkpoint import FILE_NAME, save
from pyro_helm.training.checks import (
    check_can_clip,
    check_can_observe,
    check_full_batch,
    check_programs,
    check_separable,
    check_step,
    made_folder,
    made_optimizer,
    made_scheduler,
    try_out,
)
from pyro_helm.training.history import History, describe_machine
from pyro_helm.training.progress import Bar
from pyro_helm.training.restarts import Restarts
from pyro_helm.training.result import Result
from pyro_helm.training.settings import Settings, checked_settings
from pyro_helm.training.step_choice import chosen_kind, numbers_of
from pyro_helm.training.steps import Step, training_step
from pyro_helm.training.validation import Metrics, validated
from pyro_helm.training.weight_average import WeightAverage

SECONDS_BETWEEN_SAVES = 60.0


class TrainingRun:
    """A training of a model and its guide, which goes on inside a ``with`` block, once.

    There the programs are in training mode, other threads wait, random numbers are those of the seed, and Ctrl-C ends
    the block and not the program. After it every restart has its best parameters, and what is to be saved is saved.

    Args:
        model: as for :func:`pyro_helm.fit`.
        guide: likewise.
        data: likewise.
        scheme: likewise.
        valid: likewise.
        settings: all else that :func:`pyro_helm.fit` takes.

    Attributes:
        restarts: which are active, and the best of each.
        history: the table so far.
        seconds: of training so far, validation and saving apart.
        kind: of the steps, chosen when the epochs begin where the settings ask for none.

    Raises:
        ValueError: as :func:`pyro_helm.fit`.
        TypeError: likewise.
        RuntimeError: in a second ``with`` block.

    >>> data = load_data("bars")
    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> settings = Settings(num_epochs=20, progress=False)
    >>> with TrainingRun(model, guide, data.train[:200], scheme=WakeSleep(), settings=settings) as run:
    ...     for epoch in run.epochs():
    ...         bound = run.train().item()
    ...         run.validate()
    ...         run.record(epoch)
    ...         if bound > -12:
    ...             break
    >>> len(run.result().history) == epoch < 20
    True
    """

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module | None,
        data: Tensor | PatternDistribution,
        *,
        scheme: Scheme,
        settings: Settings,
        valid: Tensor | PatternDistribution | None = None,
    ) -> None:
        self.model, self.guide, self.scheme = model, guide, scheme
        self.settings = settings = checked_settings(settings, has_valid=valid is not None)
        cases, valid_cases = cases_of("data", data), None if valid is None else cases_of("valid", valid)
        check_programs(model, guide, scheme, None if valid_cases is None else valid_cases.values)
        check_can_observe(model, cases.values, "data", settings.batch_size)
        cases = with_missing(cases, guide)
        if valid_cases is not None:
            check_can_observe(model, valid_cases.values, "valid", settings.batch_size)
            valid_cases = with_missing(valid_cases, guide)
        check_step(settings.step, scheme)
        self.folder = None if settings.out is None else made_folder(settings.out)  # refused before the training
        self.programs = [program for program in (model, guide) if program is not None]
        with one_at_a_time():
            place_programs(self.programs, settings.device, settings.dtype)
            place = placement(model)
            self.device = place["device"]
            self.cases, self.valid = cases.to(place), None if valid_cases is None else valid_cases.to(place)
            self.batch_size = min(settings.batch_size or len(cases.values), len(cases.values))
            parameters = list(dict.fromkeys(each for program in self.programs for each in program.parameters()))
            self.restarts = Restarts(parameters, getattr(model, "restarts", 1), Buffers(self.programs))
            self.descent = self._made_optimizer()
            self.scheduler = made_scheduler(settings.schedule, self.descent, settings.num_epochs)
            self.averaged = None if settings.average is None else WeightAverage(self.restarts, settings.average)
        labels = {"dataset": settings.dataset, **describe_machine(model), "scheme": scheme.name, "seed": settings.seed}
        self.history = History(labels)
        self.bar = Bar(labels, settings.num_epochs, shown=settings.progress)
        self.seconds, self.saved, self.interrupted = 0.0, time.monotonic(), False
        self.kind = settings.step or "eager"
        self._numbers = numbers_of(scheme)
        self._take_step = self._new_step()
        self._metrics: Metrics = {}
        self._trained = self.restarts.active
        self._block: ExitStack | None = None

    def __enter__(self) -> TrainingRun:
        if self._block is not None:
            raise RuntimeError("a TrainingRun goes on inside one with block, once; make another to train again")
        with ExitStack() as block:
            block.enter_context(one_at_a_time())
            block.push(self._finish)
            block.enter_context(training(*self.programs))
            block.enter_context(own_param_store())
            block.enter_context(forked_rng(self.settings.seed, self.device))
            block.enter_context(self.bar)
            block.enter_context(pyro.validation_enabled(False))
            block.push(self._note_interrupt)
            self._block = block.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return None if self._block is None else self._block.__exit__(kind, error, trace)

    def epochs(self) -> Iterator[int]:
        """Try the programs out, then number the epochs from 1 until they, the time or the active restarts run out.

        Raises:
            ValueError: for programs that the scheme can't train.
            RuntimeError: outside the ``with`` block.

        """
        if self._block is None:
            raise RuntimeError("a TrainingRun goes on inside a with block: with TrainingRun(...) as run")
        self._try_out()
        self.kind = self.settings.step or self._chosen_kind()
        self._take_step = self._new_step()
        for epoch in range(1, self.settings.num_epochs + 1):
            yield epoch
            is_late = self.settings.max_seconds is not None and self.seconds >= self.settings.max_seconds
            if is_late or not bool(self.restarts.active.any()):
                break

    def train(self) -> Tensor:
        """One pass over the data; the scheme's bound averaged over it, ``[restarts]``, NaN out of the batch."""
        began = time.perf_counter()
        self._trained = self.restarts.active.clone()
        batch, values = self.restarts.batch, self.cases.values
        if numbers_of(self.scheme) != self._numbers:  # a captured step would go on with the old ones
            self._take_step = self._new_step()
        with batch.narrowed(self.programs):
            total = values.new_zeros(len(batch.members))
            for rows in self.cases.minibatches(self.batch_size):
                total -= self._take_step(rows)
        bound = values.new_full((batch.number,), torch.nan)
        bound[batch.members] = total / len(values)
        if self.scheduler is not None:
            self.scheduler.step()
        wait_for(self.device)
        self.seconds += time.perf_counter() - began
        self._metrics = {"train_bound": (bound, None)}
        return bound

    def validate(self) -> None:
        """Measure the machines on the validation cases; nothing without them."""
        if self.valid is not None and self.guide is not None:
            settings = self.settings
            with self._evaluated():
                self._metrics |= validated(
                    self.model, self.guide, self.valid, num_samples=settings.valid_samples, seed=settings.seed
                )

    def record(self, epoch: int) -> None:
        """Note what this epoch has measured, keep what has improved, and stop what is out of patience.

        Raises:
            RuntimeError: if it has not been trained or validated.

        """
        judge = "train_bound" if self.valid is None else "valid_log_likelihood"
        if judge not in self._metrics:
            raise RuntimeError("an epoch is recorded after train() and validate()")
        score, _ = self._metrics[judge]
        with self._evaluated():
            self.restarts.record(epoch, score, keep_last=self.valid is None, patience=self.settings.patience)
        if self._may_narrow() and self.restarts.narrow(self.descent):
            self._take_step = self._new_step()
        self.history.record(self._metrics, self._trained, epoch=epoch, seconds=self.seconds)
        self._metrics = {}
        self.bar.advance(self.restarts.best.score)
        if time.monotonic() - self.saved > SECONDS_BETWEEN_SAVES:
            self._save()
            self.saved = time.monotonic()

    def result(self, *, stacklevel: int = 1) -> Result:
        """The trained machine and its history; a RuntimeWarning tells of restarts that have failed.

        Args:
            stacklevel: whose line the warning names, 1 being the caller's.

        """
        self.restarts.warn_of_failures(stacklevel=stacklevel + 1)
        history, summary = self.history.table(), self.restarts.table()
        return Result(self.model, self.guide, history, summary, self.interrupted, self.kind)

    def _made_optimizer(self) -> torch.optim.Optimizer:
        settings, restarts = self.settings, self.restarts
        descent = made_optimizer(settings.optimizer, restarts.parameters, settings.learning_rate)
        check_separable(descent, restarts.number)
        check_full_batch(descent, self.scheme, len(self.cases.values), self.batch_size, settings.schedule)
        check_can_clip(descent, settings.max_gradient_norm)
        return descent

    def _evaluated(self) -> AbstractContextManager[Any]:
        """While what is validated and kept is in the parameters: their average, if one is asked for."""
        return nullcontext() if self.averaged is None else self.averaged.in_place()

    def _chosen_kind(self) -> str:
        number, size = len(self.cases.values), self.batch_size
        sizes = [min(size, number - start) for start in range(0, number, size)]
        return chosen_kind(self.programs, self.scheme, self.descent, sizes, self.settings.num_epochs)

    def _new_step(self) -> Step:
        self._numbers = numbers_of(self.scheme)
        return training_step(
            self.kind,
            self._losses,
            self.restarts.parameters,
            self.descent,
            (self.averaged or self.restarts).guard,
            settings_change=self.scheduler is not None,
            max_gradient_norm=self.settings.max_gradient_norm,
            buffers=self.restarts.best.buffers,
        )

    def _losses(self, rows: Tensor) -> Tensor:
        """Of a minibatch, ``[restarts]``."""
        with self.cases.weighted(rows):
            return self.scheme.restart_losses(self.model, self.guide, observations={"x": self.cases.values[rows]})

    def _try_out(self) -> None:
        first = self.cases.values[: self.batch_size]
        with self.restarts.best.buffers.restored():
            try_out(self.model, self.guide, first, self.scheme, self.restarts.number)
            self.restarts.best.check_buffers()
        check_all_are_trained(self.restarts.parameters)

    def _may_narrow(self) -> bool:
        """Whether restarts can be left out of the batch.

        Not of user-defined programs or of schemes that remember each; to compile again would take longer than it saves,
        and a step launched at once has its parameters where they are.
        """
        may_be_made_anew = self.kind == "eager" or (self.kind == "captured" and self.device.type == "cpu")
        return all(map(is_layered, self.programs)) and self.scheme.captures and may_be_made_anew

    def _save(self) -> None:
        if self.folder is not None and self.history.records:
            with self.restarts.best.in_place():
                save(self.folder / FILE_NAME, self.model, self.guide)
            write_table(self.history.table(), self.folder / "history")

    def _note_interrupt(self, kind: type[BaseException] | None, *rest: object) -> bool:
        self.interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        return self.interrupted

    def _finish(self, kind: type[BaseException] | None, *rest: object) -> bool:
        if kind is None:
            self.restarts.best.restore()
            self._save()
        return False
