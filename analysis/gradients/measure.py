"""How noisy, how biased and how costly the gradient of every scheme is, against the exact one.

    python -m analysis.gradients.measure --out results/gradients

A machine of 9-6-4 sigmoid units on bars of 3 by 3 pixels, untrained and trained: all of its 2^19 joint states can be
summed over, so that what each scheme's gradient estimates is known. Restarts with equal parameters are independent
replicates of an estimate. Of each scheme, number of particles and layer (weights and biases together), the table has

    bias       norm of mean minus exact gradient, with the noise of the mean taken off; 0 where nothing is left
    bias_floor the smallest bias that shows: what its square exceeds by five standard errors
    variance   of one estimate, summed over parameters
    snr        norm of the exact gradient / sqrt(variance)

and the processor time of a step, which is loss and backward pass of one machine. Prints the rows of all layers
together, and writes all to ``OUT.parquet`` and ``OUT.csv``, and the figure to ``OUT.png``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import pandas as pd
import pyro
import torch
import typer

from analysis.gradients.estimates import estimates, statistics, step
from analysis.gradients.exact import exact_gradients
from analysis.gradients.figure import draw
from analysis.gradients.net import Layers, Net, machine
from analysis.gradients.variants import VARIANTS, chosen_labels, schemes_of
from pyro_helm.experiments.console import print_table
from pyro_helm.experiments.plots import save_figure
from pyro_helm.runtime.tables import write_table

PARTICLES: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
SHOWN = "net,scheme,particles,part,target,relative_bias,snr,milliseconds,milliseconds_to_snr_1"
"""Columns that are printed."""


def main(
    out: Annotated[Path, typer.Option(help="Stem of the table and the figure.")] = Path("results/gradients"),
    replicates: Annotated[int, typer.Option(help="Estimates of each gradient.")] = 2000,
    epochs: Annotated[int, typer.Option(help="Of the trained machine, four steps each.")] = 300,
    lessons: Annotated[
        int, typer.Option(help="Steps of NVIL beforehand; a quarter of schemes that keep states.")
    ] = 200,
    rounds: Annotated[int, typer.Option(help="Times each step is timed.")] = 25,
    schemes: Annotated[str, typer.Option(help="Rows of the table, separated by commas, or all.")] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="A little of each, to see that all works.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Measure, print and draw."""
    torch.set_num_threads(threads)
    particles = PARTICLES
    if quick:
        replicates, epochs, lessons, rounds, particles = 100, 5, 20, 1, (2, 5)
    labels = chosen_labels(schemes)
    cost = milliseconds(labels, particles, machine(0), rounds)
    rows: list[dict[str, Any]] = []
    for name, num_epochs in (("untrained", 0), ("trained", epochs)):
        net = machine(num_epochs)
        known: dict[str, Layers] = {}
        for number in particles:
            rows += [{"net": name, **row} for row in measure(labels, net, number, replicates, lessons, known)]
            known.pop("importance", None)  # which alone changes with the number of particles
            typer.echo(f"{name}, {number} particles done", err=True)
    table = pd.DataFrame(rows)
    # a step takes the same time whatever the parameters
    table["milliseconds"] = [cost[key] for key in zip(table.particles, table.scheme, strict=True)]
    table["variance_x_cost"] = table.variance * table.milliseconds
    table["milliseconds_to_snr_1"] = table.relative_variance * table.milliseconds
    print_table(
        table.loc[table.layer == "all", SHOWN.split(",")],
        "gradients of all layers together, 20 data; milliseconds per step of one machine",
    )
    write_table(table, out)
    save_figure(draw(table), out.with_suffix(".png"))
    typer.echo(f"table and figure: {out}")


def milliseconds(
    labels: Sequence[str], particles: tuple[int, ...], net: Net, rounds: int
) -> dict[tuple[int, str], float]:
    """Median processor time of a step of each scheme with each number of particles, all of them taking turns."""
    schemes = {(number, label): scheme for number in particles for label, scheme in schemes_of(labels, number).items()}
    times: dict[tuple[int, str], list[float]] = {key: [] for key in schemes}
    with pyro.validation_enabled(False):
        for turn in range(rounds + 1):
            for key, scheme in schemes.items():
                began = time.process_time()
                step(scheme, net)
                if turn:
                    times[key].append(1e3 * (time.process_time() - began))
    return {key: median(each) for key, each in times.items()}


def measure(
    labels: Sequence[str], net: Net, num_particles: int, replicates: int, lessons: int, known: dict[str, Layers]
) -> list[dict[str, Any]]:
    """One row per scheme, part and layer; exact gradients that are not known yet are found and kept in ``known``."""
    rows = []
    for label, scheme in schemes_of(labels, num_particles).items():
        pyro.set_rng_seed(0)
        with pyro.validation_enabled(False):
            drawn = estimates(scheme, net, replicates, lessons)
        for (part, layer), samples in drawn.items():
            target = VARIANTS[label].theta if part == "theta" else VARIANTS[label].phi
            if target not in known:
                known[target] = exact_gradients(target, net, scheme)
            row = {"scheme": label, "particles": num_particles, "part": part, "layer": layer, "target": target}
            rows.append({**row, **statistics(samples, known[target][part, layer])})
    return rows


if __name__ == "__main__":
    typer.run(main)
