"""``Study``: many trainings as one table, that survives being ended, is spread over processes, and can be read."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from pyro_helm.data.sets import Data
from pyro_helm.experiments import study_tables
from pyro_helm.experiments.choosing import chosen_if_any, chosen_settings, missing_references, paired_by_restart
from pyro_helm.experiments.data_sets import data_of
from pyro_helm.experiments.ending import Ended, ending_signals
from pyro_helm.experiments.grids import Plan, seeds_of
from pyro_helm.experiments.progress_bar import StudyBar
from pyro_helm.experiments.ranking import study_card
from pyro_helm.experiments.recipes import load_machine
from pyro_helm.experiments.run_folders import TrainingInterrupted, folder_of, is_over, outcome_in, warn_of
from pyro_helm.experiments.run_plans import Run, check_reference, having
from pyro_helm.experiments.scoring import checked_scores
from pyro_helm.experiments.step_times import kept_step_times, time_steps
from pyro_helm.experiments.study_folder import keep_plan, kept_words, planned_runs, write_tables
from pyro_helm.experiments.study_tables import RunFolder
from pyro_helm.experiments.used_folders import check_is_this_study
from pyro_helm.experiments.workers import OnDone, carry_out_here, carry_out_on, local_client, number_of_cores
from pyro_helm.runtime.arguments import at_least_one, not_negative
from pyro_helm.runtime.shown import Card, Shown
from pyro_helm.training.checkpoint import load
from pyro_helm.training.checks import made_folder
from pyro_helm.training.fitting import fit
from pyro_helm.training.result import Result
from pyro_helm.training.run_folder import check_holds_no_run


class Study(Shown):
    """Many trainings as one table: a study.

    It crosses data sets, machines, schemes, settings and seeds, each run with many restarts. Each run is a folder named
    by a digest of what decides its numbers: what is there is not trained again, what was ended goes on, and what is new
    is trained. The setting of each scheme is chosen on validation data and reported on test data, where schemes are
    compared restart by restart.

    Args:
        folder: for the runs and the tables.
        datasets: names, paths, :class:`Data`; or tables ``{"data": name, "name": label, "train": rows, "valid": rows,
            "test": rows, "data_seed": 1, "machines": [...], setting: value}``.
        machines: lines such as ``"odds 24-2"``, functions of ``(width, seed, restarts)`` that return model and guide,
            or ``"module:name"`` of one; or tables ``{"machine": line, "name": label, "arguments": {...}, ...}``.
        schemes: schemes, or their names, or ``"module:name"`` of a class; or tables ``{"scheme": name, "name": label,
            "arguments": {...}, ...}``. A scheme may stand twice with unlike settings.
        settings: of :func:`fit` and of the schemes' constructors; a list of values is a grid. Tables of data sets,
            machines and schemes may bring their own, which go before these.
        budget: ``"20 epochs"``, ``"500 steps"``, ``"60 seconds"`` of training steps, or several, compared separately.
        restarts: machines of a run, trained side by side.
        seeds: of initial values, minibatches and draws; each is a run.
        scores: of :func:`log_likelihood`, for the final numbers; ``splits`` are ``["valid", "test"]``.
        reference: label of the scheme that others are compared with; empty for the best of each data set and machine.
        name: of the study, for its report.
        question: that it is to answer, likewise.
        save_every: seconds between saves of a run.
        training: a function like :func:`fit`, or its ``"module:name"``.
        measure: a function of ``(model, guide, data, seed)`` that returns a frame with ``restart, metric, value``.

    Raises:
        ValueError: for what is no data set, machine, scheme, setting or budget.

    >>> study = Study("study", datasets=["bars"], machines=["sigmoid 4"], schemes=["wake_sleep", "reinforce"],
    ...               settings={"learning_rate": [0.01, 0.03]}, budget="5 steps", restarts=2, scores={"num_samples": 5})
    >>> runs = study.run(workers=1, progress=False)
    >>> runs.state.tolist(), study.varied
    (['finished', 'finished', 'finished', 'finished'], ['learning_rate'])
    >>> sorted(study.chosen().scheme)
    ['reinforce', 'wake_sleep']
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        datasets: Sequence[Any],
        machines: Sequence[Any] = (),
        schemes: Sequence[Any],
        settings: Mapping[str, Any] | None = None,
        budget: Any = "50 epochs",
        restarts: int = 8,
        seeds: Sequence[int] = (0,),
        scores: Mapping[str, Any] | None = None,
        reference: str = "",
        name: str = "",
        question: str = "",
        save_every: float = 60.0,
        training: Callable[..., Any] = fit,
        measure: Callable[..., Any] | None = None,
    ) -> None:
        self.folder = made_folder(folder)
        check_holds_no_run(self.folder)
        self.name, self.question, self.reference = name, question, reference
        self.interrupted: int | None = None
        self.unfinished: tuple[Run, Result] | None = None
        plan = Plan(
            datasets=datasets,
            machines=machines,
            schemes=schemes,
            settings={} if settings is None else settings,
            budget=budget,
            restarts=at_least_one("restarts", restarts),
            seeds=seeds_of(seeds),
            scores=checked_scores({} if scores is None else scores),
            save_every=not_negative("save_every", save_every),
            training=training,
            measure=measure,
        )
        self.plan: list[Run] = plan.runs(self.folder)
        self._whole = self.plan  # of which only() leaves a part
        check_reference(reference, self.plan)

    @classmethod
    def open(cls, folder: str | Path) -> Study:
        """A study as it is on disk, to be read; also several studies whose folders were copied together.

        Raises:
            FileNotFoundError: if there is no run below the folder.
            NotADirectoryError: for a file.

        """
        if Path(folder).is_file():
            raise NotADirectoryError(f"a study is a folder, but {folder} is a file")
        study = cls.__new__(cls)
        study.folder = Path(folder)
        study.name, study.question, study.reference = kept_words(study.folder)
        study.interrupted, study.unfinished, study.plan, study._whole = None, None, [], []
        if not study._found()[0]:
            raise FileNotFoundError(f"there is no study at {folder}: no run below it; expected a folder of Study.run()")
        return study

    def only(self, **asked: Any) -> Study:
        """The part of this study whose runs have these labels and settings, in the same folder.

        The tables that :meth:`run` writes stay those of the whole.

        Args:
            asked: ``dataset``, ``machine``, ``scheme``, ``budget``, ``seed`` or any setting; a value, or a list of
                which any will do.

        Raises:
            ValueError: for what no run has, alone or together; for a study that was opened to be read.

        >>> study = Study("study", datasets=["bars"], machines=["sigmoid 4"], schemes=["wake_sleep", "vimco"])
        >>> [run.labels["scheme"] for run in study.only(dataset="bars", scheme="vimco").plan]
        ['vimco']
        """
        if not self.plan:
            raise ValueError("only() narrows what is to be run; choose rows of the tables of a study that was opened")
        part = copy(self)
        for name, values in asked.items():
            those = having(self._whole, name, values)  # a value that only this part lacks is no slip
            part.plan = [run for run in part.plan if run in those]
        if not part.plan:
            raise ValueError(f"no run has all of {', '.join(f'{name} {value}' for name, value in asked.items())}")
        return part

    def run(self, workers: int | None = None, *, client: Any = None, progress: bool = True) -> pd.DataFrame:
        """Train what is not trained yet, and write the tables.

        Args:
            workers: processes of one thread on this computer; None for one per core, 1 for this process.
            client: of ``dask.distributed``, instead: workers anywhere that see the folder under the same path.
            progress: show a bar, or lines now and then, on standard error.

        Returns:
            one row per run with what came of it, see :meth:`runs`. Ctrl-C, SIGTERM and SIGHUP end it with what there
            is, and ``interrupted`` is the number of the signal, else None.

        Raises:
            ConnectionError: if the scheduler is lost.
            ImportError: for several workers without Dask.
            ValueError: for the folder of another study.

        """
        check_is_this_study(self.folder, self._whole, self.name)
        self.carry_out(workers, client=client, progress=progress)
        write_tables(self.folder, self._found(self._whole)[0], self.reference)
        return self.runs()

    def carry_out(
        self,
        workers: int | None = None,
        *,
        client: Any = None,
        progress: bool = True,
        raising: bool = False,
        on_done: OnDone | None = None,
    ) -> None:
        """Train what is not trained yet, as :meth:`run` does, and write no tables.

        Args:
            workers: as for :meth:`run`.
            client: likewise.
            progress: likewise.
            raising: in this process, raise a run's error; otherwise it is an outcome.
            on_done: told of each run that is over and its outcome; None for :func:`warn_of`.

        """
        on_done = on_done or warn_of
        keep_plan(self.folder, self._whole, self.name, self.question, self.reference)
        todo = [run for run in self.plan if not is_over(outcome_in(folder_of(run, self.folder)))]
        number = min(number_of_cores() if workers is None else at_least_one("workers", workers), len(todo))
        self.interrupted, self.unfinished = None, None
        try:
            with ending_signals(), StudyBar(len(todo), shown=progress and bool(todo)) as bar:
                time_steps(todo, self.folder, number)
                if client is None and number <= 1:
                    carry_out_here(todo, self.folder, bar, on_done, raising=raising)
                    return
                chosen = local_client(number) if client is None else nullcontext(client)
                with chosen as cluster:
                    carry_out_on(cluster, todo, self.folder, bar, on_done)
        except KeyboardInterrupt as ending:
            self.interrupted = ending.args[0] if isinstance(ending, Ended) else signal.SIGINT
            self.unfinished = ending.unfinished if isinstance(ending, TrainingInterrupted) else None

    def step_times(self) -> pd.DataFrame:
        """Milliseconds per step, measured in turns before the runs of a budget in seconds; empty without one."""
        return kept_step_times(self.folder)

    def _card(self) -> Card:
        name, names = self.name or self.folder.name, self.varied
        chosen, why = chosen_if_any(self.table(), names)
        notes = [*filter(None, [why]), *missing_references(chosen, self.reference)]
        return study_card(name, self.runs(), chosen, names, not_begun=self.not_begun, notes=notes)

    @property
    def not_begun(self) -> int:
        """Number of runs that are asked for and have not begun, of the plan or of what the folder says."""
        asked = {run.digest for run in self.plan} or planned_runs(self.folder)
        return len(asked - {run.digest for run in self._found()[0]})

    def runs(self) -> pd.DataFrame:
        """One row per run: labels, every setting, ``state`` and why, seconds and steps of training, folder."""
        return study_tables.runs_table(self._found()[0])

    def table(self) -> pd.DataFrame:
        """Final numbers, one row per run, restart, split and metric; settings that differ are columns."""
        return study_tables.final_table(self._found()[0])

    def history(self) -> pd.DataFrame:
        """Learning curves, one row per run, epoch, restart and metric."""
        return study_tables.history_table(self._found()[0])

    def chosen(self) -> pd.DataFrame:
        """The best setting of each scheme on validation data, reported on test data."""
        return chosen_settings(self.table(), self.varied)

    def differences(self, reference: str | None = None) -> pd.DataFrame:
        """Paired differences of the chosen settings on test data, restart by restart, with intervals of 95 %."""
        table = self.table()
        chosen = chosen_settings(table, self.varied)
        return paired_by_restart(table, chosen, self.varied, self.reference if reference is None else reference)

    def conflicts(self) -> pd.DataFrame:
        """Runs that are there twice with unlike numbers: ``run, folder, other, what``."""
        return study_tables.conflicts_table(self._found()[1])

    @property
    def varied(self) -> list[str]:
        """Settings that differ between runs; each is a column of every table."""
        return study_tables.varied_settings(self._found()[0])

    def machine(self, run: str) -> tuple[nn.Module, nn.Module | None]:
        """Model and guide of a run, by its digest.

        Those of a function in a script are made only where the study was made here; others wherever their modules are.
        """
        plan = {each.digest: each for each in self.plan}
        found = self._run(run)
        if run not in plan:
            return load_machine(found.path)
        width = self.data(run).train.shape[1]
        built = plan[run].build(width, seed=found.description["seed"], restarts=found.description["restarts"])
        return load(found.path, *built)

    def data(self, run: str) -> Data:
        """The data set of a run, by its digest."""
        found = self._run(run)
        return data_of(found.description["data"], found.path.parent.parent)

    def _run(self, digest: str) -> RunFolder:
        for run in self._found()[0]:
            if run.digest == digest:
                return run
        raise ValueError(f"there is no run {digest!r} in {self.folder}")

    def _found(self, plan: Sequence[Run] | None = None) -> tuple[list[RunFolder], list[tuple[RunFolder, RunFolder]]]:
        return study_tables.found_runs(self.folder, [run.digest for run in (self.plan if plan is None else plan)])
