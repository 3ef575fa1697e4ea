"""How much faster a study is on two workers than on one, and what a run costs beside its training.

    python -m analysis.benchmarks.study_speed

Forty trainings of the shifter (32-24-2, five schemes, four learning rates, two draws of the data), by one process, by
two workers of Dask, whose start is counted, and by two bare processes, which is what the computer can do. Prints the
seconds of each and their ratio to one; those of a run beside its training, capturing, validation and scoring included;
those of a run that trains for one step and is scored by one sample (start, manifest, saving, table); and, as the error
of the clock, by how much the milliseconds per step of the same run differ when another run is beside it.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import pyro_helm as helm
from pyro_helm.experiments.run_folders import carried_out


def main(
    epochs: Annotated[int, typer.Option(help="Of each training.")] = 5,
    restarts: Annotated[int, typer.Option(help="Machines of each.")] = 8,
    rates: Annotated[int, typer.Option(help="Learning rates.")] = 4,
) -> None:
    """Train twice, and print."""
    asked: dict[str, Any] = {
        "datasets": [{"data": "shifter", "data_seed": seed} for seed in (1, 2)],
        "machines": ["sigmoid 24-2"],
        "schemes": ["reinforce", "wake_sleep", "reweighted_wake_sleep", "vimco", "nvil"],
        "settings": {"learning_rate": [0.003, 0.01, 0.03, 0.1][:rates], "num_particles": 5},
        "budget": f"{epochs} epochs",
        "restarts": restarts,
        "scores": {"num_samples": 50},
    }
    seconds, runs = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for workers in (1, 2):
            study = helm.Study(Path(scratch) / str(workers), **asked)
            began = time.monotonic()
            runs[workers] = study.run(workers).set_index("run")
            seconds[workers] = time.monotonic() - began
        bare = seconds_of_bare_processes(helm.Study(Path(scratch) / "bare", **asked))
        short = seconds_of_short_runs(Path(scratch) / "short", asked)
    alone, beside = runs[1], runs[2]
    overhead = (seconds[1] - alone.seconds.sum()) / len(alone)
    error = (beside.ms_per_step / alone.ms_per_step - 1).abs()
    typer.echo(
        f"{len(alone)} runs: {seconds[1]:.1f} s on one, {seconds[2]:.1f} s on two: {seconds[1] / seconds[2]:.2f}; "
        f"{bare:.1f} s by two bare processes: {seconds[1] / bare:.2f}"
    )
    typer.echo(f"beside its training a run took {overhead:.2f} s, capturing, validation and scoring included")
    typer.echo(f"a run of one eager step, scored by one sample, took {short:.2f} s from beginning to end")
    typer.echo(
        f"ms per step, one beside another against one alone: median {error.median():.1%}, most {error.max():.1%}"
    )


def seconds_of_bare_processes(study: helm.Study) -> float:
    """What two processes need that take the runs one after another, without an engine."""
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(partial(carried_out, study=study.folder), study.plan, chunksize=1)
    return time.monotonic() - began


def seconds_of_short_runs(folder: Path, asked: dict[str, Any]) -> float:
    """A run of one step by each scheme, in this process; the mean."""
    few = {"train": 100, "valid": 100, "test": 100}
    settings = {"num_particles": 5, "step": "eager"}
    once = {"datasets": [{"data": "shifter", **few}], "settings": settings, "budget": "1 steps"}
    study = helm.Study(folder, **{**asked, **once, "scores": {"num_samples": 1}})
    began = time.monotonic()
    study.run(1)
    return (time.monotonic() - began) / len(study.plan)


if __name__ == "__main__":
    typer.run(main)
