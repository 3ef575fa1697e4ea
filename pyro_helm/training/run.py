"""One training, epoch by epoch: what ``fit`` runs, to be driven by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyro_helm.data.named_observations import DataLike
from pyro_helm.programs.module_state import Buffers, one_at_a_time, training
from pyro_helm.programs.param_store import check_all_are_trained, own_param_store
from pyro_helm.runtime.device import place_programs, placement
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.runtime.signals import EndingSignals
from pyro_helm.schemes import Scheme
from pyro_helm.training.callbacks import close, tell
from pyro_helm.training.cases import checked_cases
from pyro_helm.training.checks import (
    check_programs,
    check_step,
    checked_optimizer,
    made_folder,
    made_scheduler,
    try_out,
)
from pyro_helm.training.clock import Clock
from pyro_helm.training.history import History, describe_machine
from pyro_helm.training.manifest import manifest_of
from pyro_helm.training.passes import Pass
from pyro_helm.training.progress import Bar
from pyro_helm.training.restarts import Restarts
from pyro_helm.training.result import Result
from pyro_helm.training.run_folder import RunFolder
from pyro_helm.training.saving import Saving
from pyro_helm.training.settings import Settings, checked_settings
from pyro_helm.training.step_choice import chosen_kind, may_narrow, numbers_of
from pyro_helm.training.steps import Step, training_step
from pyro_helm.training.streamed_cases import StreamedCases, training_cases
from pyro_helm.training.validation import Metrics, valid_without_guide, validated
from pyro_helm.training.weight_average import WeightAverage


class TrainingRun:
    """One training of a model and its guide, driven by hand.

    It goes on inside a ``with`` block, once: the programs are in training mode, other threads wait, random numbers are
    those of the seed, and Ctrl-C ends the block after the step under way. Then every restart has its best parameters,
    and what is to be saved is saved. A resumed run goes on where it was, if each epoch is trained once and recorded.

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
        clock: whose seconds are those of the training steps so far.
        epoch: the last that is recorded; 0 at first.
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
        data: DataLike,
        *,
        scheme: Scheme,
        settings: Settings,
        valid: DataLike | None = None,
    ) -> None:
        self.model, self.guide, self.scheme = model, guide, scheme
        self.settings = settings = checked_settings(settings, has_valid=valid is not None)
        check_programs(model, guide, scheme)
        cases = training_cases(data, model, guide, settings)
        valid_cases = None if valid is None else checked_cases("valid", valid, model, guide, settings.batch_size)
        check_step(settings.step, scheme)
        path = None if settings.out is None else made_folder(settings.out)  # refused before the training
        self.programs = [program for program in (model, guide) if program is not None]
        with one_at_a_time():
            place_programs(self.programs, settings.device, settings.dtype)
            place = placement(model)
            self.device = place["device"]
            self.cases, self.valid = cases.to(place), None if valid_cases is None else valid_cases.to(place)
            self.batch_size = min(settings.batch_size or cases.number, cases.number)
            parameters = list(dict.fromkeys(each for program in self.programs for each in program.parameters()))
            self.restarts = Restarts(parameters, getattr(model, "restarts", 1), Buffers(self.programs))
            self.descent = checked_optimizer(
                settings, self.restarts, scheme, rows=cases.number, batch_size=self.batch_size
            )
            self.scheduler = made_scheduler(settings.schedule, self.descent, settings.num_epochs)
            self.averaged = None if settings.average is None else WeightAverage(self.restarts, settings.average)
        labels = {"dataset": settings.dataset, **describe_machine(model), "scheme": scheme.name, "seed": settings.seed}
        self.history = History(labels)
        self.bar = Bar(labels, settings.num_epochs, shown=settings.progress)
        self.clock, self.signals = Clock(self.device), EndingSignals()
        self.epoch, self.interrupted, self.is_over = 0, False, False
        self.under_way: Pass | None = None
        made_of = (model, guide, scheme, self.cases, self.valid, settings)
        self.saving = Saving(self, None if path is None else RunFolder(path, manifest_of(*made_of)))
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
            block.enter_context(self.signals)
            block.enter_context(one_at_a_time())
            block.enter_context(self.saving.to_folder())
            block.enter_context(training(*self.programs))
            block.enter_context(own_param_store())
            block.enter_context(forked_rng(self.settings.seed, self.device))
            block.callback(close, self.settings.callbacks)
            block.enter_context(self.bar)
            block.enter_context(pyro.validation_enabled(False))
            block.push(self._end)
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
        self.kind = self.settings.step or "eager"
        if self.settings.step is None and not isinstance(self.cases, StreamedCases):
            sizes, number = self.cases.sizes(self.batch_size), self.settings.num_epochs
            self.kind = chosen_kind(self.programs, self.scheme, self.descent, sizes, number)
        self.saving.begin()
        self.bar.advance(self.restarts.best.score, by=self.epoch)
        self._take_step = self._new_step()
        for epoch in range(self.epoch + 1, self.settings.num_epochs + 1):
            is_late = self.settings.max_seconds is not None and self.clock.seconds >= self.settings.max_seconds
            if self.is_over or is_late or not bool(self.restarts.active.any()):
                break
            yield epoch

    def train(self) -> Tensor:
        """One pass over the data; the scheme's bound averaged over it, ``[restarts]``, NaN out of the batch."""
        batch, place = self.restarts.batch, placement(self.model)
        if numbers_of(self.scheme) != self._numbers:  # a captured step would go on with the old ones
            self._take_step = self._new_step()
        if self.under_way is None:
            total = torch.zeros(len(batch.members), **place)
            self.under_way = Pass(self.cases.order(self.batch_size), total, self.restarts.active.clone())
        while not self.under_way.is_over():
            with batch.narrowed(self.programs), self.clock.running():
                self._go_on(self.under_way)
            if not self.under_way.is_over():
                self._rest()
        bound = torch.full((batch.number,), torch.nan, **place)
        bound[batch.members] = self.under_way.total / self.cases.number
        if self.scheduler is not None:
            self.scheduler.step()
        self._trained, self.under_way = self.under_way.trained, None
        self._metrics = {"train_bound": (bound, None)}
        return bound

    def validate(self) -> None:
        """Measure the machines on the validation cases; nothing without them."""
        if self.valid is not None:
            number, seed = self.settings.valid_samples, self.settings.seed
            with self._evaluated():
                self._metrics |= validated(self.model, self.guide, self.valid, num_samples=number, seed=seed)

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
        if may_narrow(self.programs, self.scheme, self.kind) and self.restarts.narrow(self.descent):
            self._take_step = self._new_step()
        self.history.record(self._metrics, self._trained, epoch=epoch, seconds=self.clock.seconds)
        self.epoch, metrics, self._metrics = epoch, self._metrics, {}
        self.bar.advance(self.restarts.best.score)
        self.is_over |= tell(self, metrics)
        self._rest()

    def result(self, *, stacklevel: int = 1) -> Result:
        """The trained machine and its history; a RuntimeWarning tells of restarts that have failed.

        Args:
            stacklevel: whose line the warning names, 1 being the caller's.

        """
        self.restarts.warn_of_failures(stacklevel=stacklevel + 1)
        history, summary = self.history.table(), self.restarts.table()
        failure = self.saving.failure
        return Result(self.model, self.guide, history, summary, self.interrupted, self.kind, failure)

    def _evaluated(self) -> AbstractContextManager[Any]:
        """While what is validated and kept is in the parameters: their average, if one is asked for."""
        return nullcontext() if self.averaged is None else self.averaged.in_place()

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
            preparing=self.clock.standing,
        )

    def _losses(self, rows: Tensor) -> Tensor:
        """Of a minibatch, ``[restarts]``."""
        with self.cases.weighted(rows):
            return self.scheme.restart_losses(self.model, self.guide, observations=self.cases.of(rows))

    def _try_out(self) -> None:
        first = self.cases.of(slice(self.batch_size))
        with self.restarts.best.buffers.restored():
            try_out(self.model, self.guide, first, self.scheme, self.restarts.number)
            self.restarts.best.check_buffers()
            if self.guide is None and self.valid is not None:
                self.valid = valid_without_guide(self.model, self.valid, self.settings.patience)
        check_all_are_trained(self.restarts.parameters)

    def _go_on(self, under_way: Pass) -> None:
        """Take the steps of a pass until it is over, or a rest is due."""
        while not under_way.is_over():
            rows = under_way.order[under_way.position : under_way.position + self.batch_size]
            under_way.total -= self._take_step(rows)
            under_way.position += len(rows)
            self.clock.tick()
            if self._is_rest_due():
                break

    def _is_rest_due(self) -> bool:
        return self.signals.received is not None or self.saving.is_due()

    def _rest(self) -> None:
        """Between two steps, save if it is time, and end if that was asked for."""
        if self._is_rest_due():
            self.saving.save(whole=True)
        if self.signals.received is not None:
            raise KeyboardInterrupt

    def _end(self, kind: type[BaseException] | None, *rest: object) -> bool:
        """Before anything else ends, random numbers too; Ctrl-C goes no further."""
        self.interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        if kind is None or self.interrupted:
            self.saving.save(whole=not self.interrupted and not self._metrics)
            self.restarts.best.restore()
        return self.interrupted
