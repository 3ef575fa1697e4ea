"""How the training of a command ends: what is said of it, and its exit status."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

import pyro_helm as helm
from pyro_helm.cli.errors import INTERRUPTED, SOME_FAILED, fail

if TYPE_CHECKING:
    from pyro_helm.training.result import Result  # late: --help would wait for torch


def print_fit(result: Result, folder: Path, data: str) -> None:
    """Say how good each restart is; fail if the training was ended before there was any."""
    from pyro_helm.experiments.console import print_table  # late: --help would wait for torch

    if result.history.empty:
        fail(f"interrupted before the first epoch was over; --resume goes on in {folder}", INTERRUPTED)
    if (result.history.metric == "valid_log_likelihood").any():
        metric, what = "valid_log_likelihood", "best validation log-likelihood"
    else:
        metric, what = "train_bound", "not validated; bound on the training data in the last epoch,"
    print_table(
        result.summary.rename(columns={"best": metric}),
        f"{data}, {what} in nats per datum{' (interrupted)' * result.interrupted}",
    )


def end_of_fit(result: Result, folder: Path) -> None:
    """Say where the machine is, and end with the status of what came of it."""
    if result.unsaved is not None:
        fail(f"{result.unsaved}; {_saved_elsewhere(result)}")
    typer.echo(f"machine and history: {folder}")
    if result.interrupted:
        fail(f"interrupted; --resume goes on in {folder}", INTERRUPTED)
    failed = result.summary.failed
    if failed.all():
        fail("every restart failed, so nothing was learned; try a smaller learning rate")
    if failed.any():
        fail(f"{failed.sum()} of {len(failed)} restarts failed", SOME_FAILED)


def _saved_elsewhere(result: Result) -> str:
    """Rescue a machine to the system's folder for temporary files."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="pyro-helm-"))
        helm.save(folder, result.model, result.guide)
        result.history.to_csv(folder / "history.csv", index=False)
    except OSError as error:
        return f"nor can it be elsewhere: {error}"
    return f"the machine is in {folder} instead"
