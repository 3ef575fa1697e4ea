"""What lateral connections cost, by the number of blocks that they divide a layer into.

    python -m analysis.benchmarks.lateral_blocks

A step of reweighted wake-sleep (5 particles, 100 digits) of machines of 64-40-20 units on one thread, whose layers are
all autoregressive in so many blocks, in the model, the guide, or both; and the time of 1,000 dreams. The last row has
as many blocks as units. Measured in turns, medians; ratios are to the machine without lateral connections.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import pandas as pd
import typer

import pyro_helm as helm
from pyro_helm.experiments.console import print_table
from pyro_helm.experiments.step_times import measured_step_times

BLOCKS = (None, 2, 4, 8, 16, 64)
WHERE = ("model", "guide", "both")


def machine(blocks: int | None, where: str) -> dict[str, Any]:
    """The entry of a study for a machine with so many blocks; None for one without lateral connections."""
    arguments: dict[str, Any] = {}
    if blocks is not None and where != "guide":
        arguments |= {"lateral": True, "blocks": blocks}
    if blocks is not None and where != "model":
        arguments |= {"guide": f"autoregressive_recognition blocks={blocks}"}
    return {"machine": "sigmoid 40-20", "name": f"{blocks} {where}", "arguments": arguments}


def seconds_of_dreams(model: Any, number: int, turns: int) -> float:
    """Median over turns."""
    found = []
    for _ in range(turns):
        began = time.perf_counter()
        helm.dreams(model, number)
        found.append(time.perf_counter() - began)
    return median(found)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two numbers of blocks, few dreams.")] = False,
) -> None:
    """Measure and print."""
    numbers = (None, 4) if quick else BLOCKS
    with TemporaryDirectory() as folder:
        study = helm.Study(
            Path(folder) / "blocks",
            datasets=["digits"],
            machines=[machine(blocks, where) for blocks in numbers for where in WHERE if blocks or where == "model"],
            schemes=["reweighted_wake_sleep"],
            settings={"num_particles": 5, "batch_size": 100},
            budget="1 epoch",
            restarts=1,
        )
        times = measured_step_times(study.plan, study.folder).set_index("machine").ms_per_step
    rows = []
    for blocks in numbers:
        model = helm.BeliefNetwork((64, 40, 20), lateral=bool(blocks), blocks=blocks, seed=0)
        steps = {where: times[f"{blocks} {where}"] for where in WHERE if blocks or where == "model"}
        dreams = 1000 * seconds_of_dreams(model, 10 if quick else 1000, 2 if quick else 7)
        rows.append({"blocks": blocks or "none", **steps, "dreams": dreams})
    table = pd.DataFrame(rows).set_index("blocks")
    typer.echo(
        f"without lateral connections: {table.model.iloc[0]:.2f} ms a step, {table.dreams.iloc[0]:.2f} for dreams"
    )
    table[[*WHERE]] /= table.model.iloc[0]
    table["dreams"] /= table.dreams.iloc[0]
    print_table(table.reset_index(), "times as much for a step, by where the lateral connections are; for dreams")


if __name__ == "__main__":
    typer.run(main)
