"""What the command line says of a study, and how it ends."""

from __future__ import annotations

import typer

from pyro_helm.cli.errors import fail
from pyro_helm.experiments.console import print_table
from pyro_helm.experiments.study import Study
from pyro_helm.experiments.workers import client_at

SOME_FAILED = 3
"""Exit status where some runs came to nothing and others did not."""


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
    chosen = study.chosen()
    if not chosen.empty:
        left_out = ["runs", "elbo", "seconds"]
        print_table(
            chosen.drop(columns=left_out), "best setting on validation data; test data, nats per datum, medians"
        )
        title = "difference in test log-likelihood, nats per datum, paired by restart, with 95 % interval"
        print_table(study.differences(), title)
    conflicts = study.conflicts()
    if not conflicts.empty:
        print_table(conflicts, "runs that are there twice with unlike numbers")
    typer.echo(f"runs and tables: {study.folder}")


def end_of_study(study: Study) -> None:
    """End the command with the status that a script can use."""
    runs = study.runs()
    number = len(runs)
    if study.interrupted is not None:
        waiting = int((runs.state == "waiting").sum()) if number else 0
        typer.echo(
            f"pyro-helm: interrupted with {waiting} runs begun and unfinished; the same command goes on", err=True
        )
        raise typer.Exit(128 + study.interrupted)
    failed = runs[runs.state.isin(["failed", "intractable"])]
    if len(failed) == number or (runs.failed_restarts == runs.restarts).all():
        fail("every run failed, so nothing was learned; the first says: " + (failed.why.iloc[0] if len(failed) else ""))
    if len(failed):
        typer.echo(f"pyro-helm: {len(failed)} of {number} runs failed, as the warnings say", err=True)
        raise typer.Exit(SOME_FAILED)
