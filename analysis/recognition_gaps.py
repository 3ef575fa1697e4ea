"""How much of the gap between log p(x) and -F each recognition network closes, and whether its iterations converge.

    python -m analysis.recognition_gaps --out results/recognition_gaps

Trains belief networks on the shifter (12-2 hidden units) and digits (12-4) by REINFORCE, which follows -F itself, with
three guides: factorial, with lateral connections, and iterative. The sizes are such that ``log p(x)`` is an exact sum;
-F is the mean of 200 draws of each datum. A study: what is there is not trained again. Prints the table and writes
``OUT/recognition_gaps.csv``, one row per data set, guide and restart, on up to 1000 test rows:

- ``log_likelihood``, ``bound`` (-F) and ``gap``, their difference, in nats per datum;
- ``settled``: share of the data for which no probability of ``h1`` moves by 0.001 in a step after 300 iterations;
- ``unsettled``: mean distance of the probabilities of ``h1`` from there after as many iterations as in training;
- ``gain``: below 1 where the weights alone show that the iterations converge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from pyro import poutine
from torch import Tensor

import pyro_helm as helm
from pyro_helm.experiments.console import print_table
from pyro_helm.runtime.atomic_files import atomic_path

GUIDES = ("factorial", "lateral", "iterative")
DATA = {"shifter": "sigmoid 12-2", "digits": "sigmoid 12-4"}
LONG = 300
NUM_DRAWS = 200
NUM_DATA = 1000


def measure(model: Any, guide: Any, data: helm.Data, *, seed: int) -> pd.DataFrame:
    """The gap of each restart on test data, and how its iterations end."""
    x = data.test[:NUM_DATA]
    exact = helm.log_likelihood(model, None, x, method="exact").summary.log_likelihood
    bound = helm.log_likelihood(model, guide, x, num_samples=NUM_DRAWS, seed=seed).summary.elbo
    found = {"exact": exact, "bound": bound, "gap": exact - bound}
    if hasattr(guide, "iterations"):
        found |= convergence(guide, x.float())
    return pd.concat(
        [pd.DataFrame({"restart": range(len(exact)), "metric": name, "value": each}) for name, each in found.items()]
    )


def convergence(guide: Any, x: Tensor) -> dict[str, Any]:
    """Of each restart, whether means settle, how far they are from there, and what the weights say of it."""
    ends = {number: probabilities(guide, x, number) for number in (guide.iterations, LONG, LONG + 1)}
    unsettled = (ends[guide.iterations] - ends[LONG]).abs().mean((-2, -1))
    settled = ((ends[LONG + 1] - ends[LONG]).abs().amax(-1) < 1e-3).double().mean(-1)
    return {"settled": settled.tolist(), "unsettled": unsettled.tolist(), "gain": gain(guide).tolist()}


def probabilities(guide: Any, x: Tensor, iterations: int) -> Tensor:
    """That each unit of ``h1`` is on after so many iterations, ``[restarts, data, units]``."""
    kept, guide.iterations = guide.iterations, iterations
    try:
        with torch.no_grad():
            means: Tensor = poutine.trace(guide).get_trace({"x": x}).nodes["h1"]["fn"].mean
    finally:
        guide.iterations = kept
    return means.reshape(guide.restarts, len(x), -1)


def gain(guide: Any) -> Tensor:
    """A quarter of the largest sum of weights into a unit, ``[restarts]``."""
    if isinstance(guide, helm.IterativeRecognition):
        return guide.gain()
    sums = [weight.abs().sum(-2).amax(-1) / 4 for weight in guide.lateral_weights()]
    return torch.stack(sums).amax(0).detach()


def main(
    out: Annotated[Path, typer.Option(help="Folder for the study and the table.")] = Path("results/recognition_gaps"),
    steps: Annotated[int, typer.Option(help="Training steps of each machine.")] = 6000,
    restarts: Annotated[int, typer.Option(help="Machines of each kind.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each, to see that all works.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, measure, print."""
    torch.set_num_threads(threads)
    study = helm.Study(
        out,
        datasets=[
            {
                "data": name,
                "machines": [{"machine": machine, "name": guide, "guide": f"{guide}_recognition"} for guide in GUIDES],
            }
            for name, machine in DATA.items()
        ],
        schemes=["reinforce"],
        settings={"num_particles": 5, "learning_rate": 0.01, "schedule": "cosine", "batch_size": 100},
        budget=f"{20 if quick else steps} steps",
        restarts=restarts,
        scores={"num_samples": 10, "splits": ["test"]},
        measure=measure,
    )
    study.run(workers=1)
    table = study.table()
    wanted = ["exact", "bound", "gap", "settled", "unsettled", "gain"]
    table = table[table.metric.isin(wanted)].pivot_table(
        index=["dataset", "machine", "restart"], columns="metric", values="value", sort=False
    )
    table = table[[name for name in wanted if name in table]].rename(columns={"exact": "log_likelihood"}).reset_index()
    print_table(table.rename(columns={"machine": "guide"}), "Gap between log p(x) and -F, in nats per datum")
    with atomic_path(out / "recognition_gaps.csv") as path:
        table.rename(columns={"machine": "guide"}).round(4).to_csv(path, index=False)


if __name__ == "__main__":
    typer.run(main)
