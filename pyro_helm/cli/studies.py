"""What the command line says of a study, and how it ends."""

from __future__ import annotations

import pandas as pd
import typer

from pyro_helm.cli.errors import INTERRUPTED, SOME_FAILED, fail
from pyro_helm.experiments.choosing import chosen_if_any, missing_references
from pyro_helm.experiments.comparison import Comparison
from pyro_helm.experiments.console import print_table
from pyro_helm.experiments.ranking import states_of
from pyro_helm.experiments.study import Study
from pyro_helm.experiments.workers import client_at


def run_study(study: Study, workers: int | None, scheduler: str | None) -> None:
    """Carry out what is not done yet: on this computer, or by the workers of a scheduler."""
    if scheduler is None:
        study.run(workers)
        return
    if workers is not None:
        raise ValueError(
            "--workers counts processes of this computer, but --scheduler has workers of its own; leave one out"
        )
    with client_at(scheduler) as client:
        study.run(client=client)


def print_study(study: Study) -> None:
    """The best setting of each scheme, how schemes differ, and where all of it is."""
    table, varied = study.table(), study.varied
    chosen, why_not = chosen_if_any(table, varied)
    if why_not:
        _print_runs(study.runs(), table, varied)
        typer.echo(why_not)
    if not chosen.empty:
        left_out = ["runs", "elbo", "seconds"]
        print_table(
            chosen.drop(columns=left_out), "best setting on validation data; test data, nats per datum, medians"
        )
        title = "difference in test log-likelihood, nats per datum, paired by restart, with 95 % interval"
        print_table(study.differences(), title)
        for sentence in missing_references(chosen, study.reference):
            typer.echo(sentence)
    times = study.step_times()
    if not times.empty:
        print_table(times.drop(columns="run"), "milliseconds per training step, measured in turns before the study")
    conflicts = study.conflicts()
    if not conflicts.empty:
        print_table(conflicts, "runs that are there twice with unlike numbers")
    typer.echo(f"runs and tables: {study.folder}")


def print_rest(study: Study) -> None:
    """How many runs have not begun, if any."""
    if study.not_begun:
        typer.echo(states_of(study.runs(), study.not_begun))


def _print_runs(runs: pd.DataFrame, table: pd.DataFrame, varied: list[str]) -> None:
    """Every run with its settings and its median on test data."""
    scored = table[(table.metric == "log_likelihood") & (table.split == "test")]
    shown = runs[["run", "dataset", "machine", "scheme", "budget", *varied, "seed", "state"]]
    medians = scored.groupby("run").value.median().rename("log_likelihood")
    print_table(shown.join(medians, on="run"), "runs; medians over restarts on test data, nats per datum")


def end_of_comparison(comparison: Comparison) -> None:
    """End the command with the status that a script can use."""
    if comparison.interrupted:
        fail("interrupted; the same command goes on", INTERRUPTED)
    failed, restarts = comparison.summary.failed.sum(), comparison.summary.restarts.sum()
    if failed == restarts:
        fail("every restart failed, so nothing was learned; try a smaller learning rate")
    if failed:
        fail(f"{failed} of {restarts} restarts failed", SOME_FAILED)


def end_of_study(study: Study) -> None:
    """End the command with the status that a script can use."""
    runs = study.runs()
    if study.interrupted is not None:
        finished = 0 if runs.empty else int((runs.state == "finished").sum())
        left = len(study.plan) - finished
        fail(
            f"interrupted with {left} of {len(study.plan)} runs unfinished; the same command goes on",
            128 + study.interrupted,
        )
    failed = runs[runs.state.isin(["failed", "intractable"])]
    if len(failed) == len(runs):
        fail(f"every run failed, so nothing was learned; the first says: {failed.why.iloc[0]}")
    if (runs.failed_restarts == runs.restarts).all():
        fail("every restart failed, so nothing was learned; try a smaller learning rate")
    if len(failed):
        fail(f"{len(failed)} of {len(runs)} runs failed, as the warnings say", SOME_FAILED)
