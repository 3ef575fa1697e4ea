"""Count the machines that have a unit for each pair of a pixel and its copy after the first stage alone.

    python -m analysis.paper.first_stage --scheme mean_field --epochs 3 --rate 0.06 --bias -2 --out results/paper

A machine that lacks one after this stage seldom gets it later, so that what is tried here is quick to judge. Adds a row
to ``OUT/first_stage.csv`` and prints it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.shifter_training import new_machine
from analysis.paper.solve_shifter import has_all_pairs
from pyro_helm.programs.lower_layers import lowest_layers
from pyro_helm.runtime.atomic_files import atomic_path

FIRST: dict[str, helm.Scheme] = {
    "mean_field": helm.MeanField(),
    "reweighted_wake_sleep": helm.ReweightedWakeSleep(5),
    "wake_sleep": helm.WakeSleep(5),
}


def lower_machine(imaging: str, *, bias: float, pixel_leak: float | None, restarts: int, seed: int) -> tuple[Any, Any]:
    """The lowest two layers of the machine that the call begins with."""
    model, guide = new_machine(restarts, seed, imaging, bias=bias, pixel_leak=pixel_leak)
    return lowest_layers(model, 2), lowest_layers(guide, 2)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    imaging: Annotated[str, typer.Option(help="odds, noisy_or or sigmoid.")] = "odds",
    scheme: Annotated[str, typer.Option(help=f"One of {', '.join(FIRST)}.")] = "mean_field",
    epochs: Annotated[int, typer.Option(help="Passes over the 20,000 patterns.")] = 3,
    again: Annotated[int, typer.Option(help="Of a second stage likewise, whose optimiser begins anew.")] = 0,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 0.06,
    schedule: Annotated[str | None, typer.Option(help="Of the rate.")] = None,
    batch: Annotated[int, typer.Option(help="Patterns a step.")] = 100,
    bias: Annotated[float, typer.Option(help="Where recognition biases begin.")] = -2,
    pixel_leak: Annotated[
        float | None, typer.Option(help="Where leaks of pixels begin, in the imaging's units.")
    ] = None,
    restarts: Annotated[int, typer.Option(help="Machines.")] = 32,
    seed: Annotated[int, typer.Option(help="Of their initial values.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, count, write and print."""
    torch.set_num_threads(threads)
    tried: dict[str, Any] = {
        "imaging": imaging, "scheme": scheme, "epochs": epochs, "again": again, "rate": rate, "schedule": schedule,
        "batch": batch, "bias": bias, "pixel_leak": pixel_leak, "seed": seed, "restarts": restarts,
    }  # fmt: skip
    began = time.process_time()
    machine = lower_machine(imaging, bias=bias, pixel_leak=pixel_leak, restarts=restarts, seed=seed)
    stages = [
        helm.Stage(FIRST[scheme], length, learning_rate=rate, schedule=schedule) for length in (epochs, again) if length
    ]
    helm.fit_in_stages(*machine, helm.load_data("shifter").train, stages=stages, batch_size=batch, progress=False)
    count = int(has_all_pairs(machine[0]).sum())
    found = pd.DataFrame([{**tried, "with_all_pairs": count, "seconds": round(time.process_time() - began)}])
    file = out / "first_stage.csv"
    out.mkdir(parents=True, exist_ok=True)
    table = pd.concat([pd.read_csv(file), found], ignore_index=True) if file.exists() else found
    with atomic_path(file) as path:
        table.to_csv(path, index=False)
    typer.echo(found.to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
