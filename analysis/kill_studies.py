"""Kill studies at random instants, and see that each goes on to the table of one that was left alone.

    python -m analysis.kill_studies --kills 30

A study of four runs is trained by two workers of Dask. At a random instant ``kill -9`` takes in turn a worker, the
process that holds the study and the scheduler of its workers, or a scheduler of its own. Then the study goes on. As
often as it comes to its end, its table is compared with the undisturbed one, every number exactly, and it begins anew.
Prints a line per kill and the count of tables that differed, which must be 0.
"""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import psutil
import typer

import pyro_helm as helm
from pyro_helm.experiments.workers import client_at

STUDY: dict[str, Any] = {
    "datasets": [{"data": "bars", "train": 2000, "valid": 100, "test": 100}],
    "machines": ["odds 6"],
    "schemes": ["wake_sleep", "nvil"],
    "settings": {"learning_rate": [0.01, 0.03]},
    "budget": "30 epochs",
    "restarts": 2,
    "scores": {"num_samples": 20},
    "save_every": 0.2,
}
VICTIMS = ("worker", "study", "scheduler")


def main(
    kills: Annotated[int, typer.Option(help="Processes to kill.")] = 30,
    longest: Annotated[float, typer.Option(help="Seconds after its start within which a study is hit.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Of the instants.")] = 0,
    child: Annotated[str, typer.Option(hidden=True)] = "",
    scheduler: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Train once undisturbed, then kill, go on, and compare."""
    if child:
        carry_on(Path(child), scheduler)
        return
    instants = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        undisturbed = helm.Study(Path(scratch) / "undisturbed", **STUDY)
        undisturbed.run(workers=1)
        expected, folder, differed, compared = numbers(undisturbed), Path(scratch) / "killed", 0, 0
        for number, victim in enumerate(islice(cycle(VICTIMS), kills)):
            after = instants.uniform(0, longest)
            hit_one(folder, victim, after)
            study = helm.Study(folder, **STUDY)
            finished = int((study.runs().get("state", pd.Series(dtype=str)) == "finished").sum())
            typer.echo(
                f"{number + 1}: {victim} killed after {after:.1f} s, {finished} of {len(study.plan)} runs finished"
            )
            if finished == len(study.plan) or number == kills - 1:
                study.run(workers=2)
                compared += 1
                differed += not numbers(study).equals(expected)
                shutil.rmtree(folder)
        typer.echo(f"{kills} kills, {compared} tables compared, {differed} differed from the undisturbed one")
    raise typer.Exit(bool(differed))


def carry_on(folder: Path, scheduler: str) -> None:
    """What a child does: the study, by two workers."""
    study = helm.Study(folder, **STUDY)
    if not scheduler:
        study.run(workers=2, progress=False)
        return
    with client_at(scheduler) as client:
        study.run(client=client, progress=False)


def hit_one(folder: Path, victim: str, after: float) -> None:
    """Start the study, kill one of its processes after so many seconds, and let the others come to their end."""
    address, cluster = own_cluster() if victim == "scheduler" else ("", [])
    command = [sys.executable, "-m", "analysis.kill_studies", "--child", str(folder), "--scheduler", address]
    study = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        time.sleep(after)
        target = psutil.Process(study.pid)
        if victim == "worker":
            workers = [each for each in target.children() if "spawn_main" in " ".join(each.cmdline())]
            target = workers[0] if workers else target
        (cluster[0] if cluster else target).kill()
        study.wait()
    except psutil.NoSuchProcess:  # it was over already
        study.wait()
    finally:
        for process in cluster:
            process.kill()
            process.wait()


def own_cluster() -> tuple[str, list[subprocess.Popen[bytes]]]:
    """A scheduler and two workers, each a process of its own, and the scheduler's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    dask = [sys.executable, "-m", "dask"]
    address = f"tcp://127.0.0.1:{port}"
    worker = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--death-timeout", "5"]
    commands = [[*dask, "scheduler", "--no-dashboard", "--port", port], worker, worker]
    return address, [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in commands]


def numbers(study: helm.Study) -> pd.DataFrame:
    """The table of a study but for times, in one order."""
    order = ["run", "restart", "split", "metric"]
    return study.table().drop(columns="seconds").sort_values(order, ignore_index=True)


if __name__ == "__main__":
    typer.run(main)
