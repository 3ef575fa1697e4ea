"""Which deterministic machine learns the shifter best by its own measure: of sigmoid, noisy-or or odds units.

    python -m analysis.paper.imaging_ranking --out results/paper

Dayan, Hinton, Neal & Zemel 1995, appendix A: with sigmoid units learning was almost always caught in local minima,
with noisy-or units less, and odds units compete more still. Their measure is the deterministic F, their optimiser
conjugate gradient; training and starts are those of ``many_iterations.py``, for each kind of unit. Writes
``OUT/imaging_ranking.csv``, a row per kind, start, number of iterations and machine: F in nats per pattern, and what
part of the directions the means of the top layer tell. What is trained is not trained again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.many_iterations import read_off_means, trained
from analysis.paper.shifter_training import free_energies
from pyro_helm.runtime.atomic_files import atomic_path

IMAGINGS = ("sigmoid", "noisy_or", "odds")
ITERATIONS = (300, 1000)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table and the machines.")] = Path("results/paper"),
    starts: Annotated[str, typer.Option(help="Starts, separated by semicolons.")] = "at once;layer by layer",
    most: Annotated[int, typer.Option(help="Iterations at most.")] = ITERATIONS[-1],
    restarts: Annotated[int, typer.Option(help="Machines of each kind and start.")] = 8,
    seed: Annotated[int, typer.Option(help="Of initial values.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Two machines, one iteration.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, judge, write and print."""
    torch.set_num_threads(threads)
    data = helm.load_data("shifter")
    training: dict[str, Any] = {"restarts": 2, "per_step": 1} if quick else {"restarts": restarts}
    parts = []
    for start in starts.split(";"):
        for imaging in IMAGINGS:
            for iterations in (1,) if quick else [number for number in ITERATIONS if number <= most]:
                machine, seconds = trained(
                    out / "imaging_ranking" / imaging, start, iterations, seed=seed, imaging=imaging, **training
                )
                told = read_off_means(machine[1], data)["told_by_means"]
                f = free_energies(helm.MeanField(), machine, data.distribution).tolist()
                row: dict[str, Any] = {
                    "imaging": imaging,
                    "start": start,
                    "iterations": iterations,
                    "seconds": round(seconds),
                }
                parts.append(pd.DataFrame({"f": f, "told_by_means": told}).rename_axis("machine").assign(**row))
                with atomic_path(out / "imaging_ranking.csv") as path:
                    pd.concat(parts).to_csv(path, float_format="%.6g")
    of_each = pd.concat(parts).groupby(["start", "iterations", "imaging"], sort=False)
    shown = of_each.agg(f=("f", "median"), f_best=("f", "min"), told_by_means=("told_by_means", "median"))
    typer.echo(shown.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    typer.run(main)
