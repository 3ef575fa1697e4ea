"""What a training step of each scheme costs, measured in turns, so that what disturbs one disturbs all."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path
from statistics import median

import pandas as pd

from pyro_helm.experiments.data_sets import data_of
from pyro_helm.experiments.run_folders import one_thread
from pyro_helm.experiments.run_plans import Run
from pyro_helm.experiments.workers import number_of_cores
from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.training.fitting import fit
from pyro_helm.training.run import TrainingRun
from pyro_helm.training.settings import Settings

TURNS, STEPS = 5, 20
FILE = "step_times.csv"


def time_steps(runs: Sequence[Run], study: Path, workers: int) -> None:
    """Before runs that seconds end, measure what a step of each costs, and keep it in the study's folder.

    Raises:
        ValueError: for more processes than cores, whose seconds would not be equal.

    """
    timed = [run for run in runs if "max_seconds" in run.settings and run.training is fit]
    if timed and workers > number_of_cores():
        raise ValueError(
            f"a budget of seconds needs a core for each process, but there are {number_of_cores()} for {workers}"
        )
    if timed and not (study / FILE).exists():
        of_each = {(str(run), str(run.settings)): run for run in timed}  # whatever the seed
        found = measured_step_times(list(of_each.values()), study)
        with atomic_path(study / FILE) as path:
            found.to_csv(path, index=False)


def kept_step_times(study: Path) -> pd.DataFrame:
    """What was measured before; empty if nothing was."""
    path = study / FILE
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["run", "ms_per_step"])


def measured_step_times(runs: Sequence[Run], study: Path) -> pd.DataFrame:
    """Milliseconds per training step of each run, the median of turns, in one thread and without capturing.

    Args:
        runs: that :func:`pyro_helm.fit` trains.
        study: folder of the study.

    Returns:
        one row per run: ``run, dataset, machine, scheme, budget, ms_per_step``.

    """
    times: dict[Run, list[float]] = {}
    with one_thread(), ExitStack() as stack:
        trainings = {}
        for run in runs:
            with suppress(Exception):  # a run that can't be trained says so in its turn
                trainings[run] = stack.enter_context(_short_training(run, study))
                next(trainings[run].epochs())
                trainings[run].train()  # the first pass captures
                times[run] = []
        for run in list(times) * TURNS:
            before = trainings[run].clock.seconds
            trainings[run].train()
            times[run].append(1000 * (trainings[run].clock.seconds - before) / _steps(trainings[run]))
    rows = [{"run": run.digest, **run.labels, "ms_per_step": median(found)} for run, found in times.items()]
    return pd.DataFrame(rows, columns=["run", "dataset", "machine", "scheme", "budget", "ms_per_step"])


def _short_training(run: Run, study: Path) -> TrainingRun:
    """The training of a run on its first data, without validation."""
    data = data_of(run.description["data"], study)
    model, guide = run.build(data.train.shape[1], seed=run.description["seed"], restarts=run.description["restarts"])
    known = {field.name for field in fields(Settings)} - {"num_epochs", "max_seconds", "patience"}
    settings = Settings(
        num_epochs=1_000_000, progress=False, **{name: value for name, value in run.settings.items() if name in known}
    )
    if run.description["on_distribution"] and data.distribution is not None:
        return TrainingRun(model, guide, data.distribution, scheme=copy.copy(run.objective), settings=settings)
    rows = data.train[: STEPS * (settings.batch_size or len(data.train))]
    return TrainingRun(model, guide, rows, scheme=copy.copy(run.objective), settings=settings)


def _steps(training: TrainingRun) -> int:
    return -(-training.cases.number // training.batch_size)
