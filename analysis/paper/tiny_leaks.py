"""What the tiny leaks of Fig. 4 do, which are to keep units alive (Dayan, Hinton, Neal & Zemel 1995, its caption).

    python -m analysis.paper.tiny_leaks --out results/paper

The deterministic shifter machine with a fixed leak of 0.05 in layers 2 and 3, of 1e-3, and of 1e-6 (an odds layer with
none at all could not turn on), all else alike: all layers at once, the library's initial values, Adam. Writes
``OUT/tiny_leaks.csv``, a row per leak and epoch: how many units of layer 2 are *off for good*, on for no pattern with a
probability of 1 % or more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.shifter_training import SIZES
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.atomic_files import atomic_path

LEAKS = (0.05, 1e-3, 1e-6)
DEAD = 0.01


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines per leak.")] = 2,
    epochs: Annotated[int, typer.Option(help="Epochs of 200 steps.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, count, write and print."""
    torch.set_num_threads(threads)
    data = helm.load_data("shifter")
    assert data.distribution is not None
    rows = []
    for leak in LEAKS:
        settings = {"fixed_leak": (None, leak, leak), "learned_leak": (True, False, True)}
        model = BeliefNetwork(SIZES, "odds", restarts=restarts, seed=0, **settings)  # type: ignore[arg-type]
        guide = FactorialRecognition(SIZES, restarts=restarts, seed=0)
        for epoch in range(1, 1 + (1 if quick else epochs)):
            helm.fit(
                model, guide, data.train, scheme=helm.MeanField(), num_epochs=1, learning_rate=0.01, seed=epoch,
                dataset=data.name, progress=False,
            )  # fmt: skip
            with torch.no_grad():
                q = guide.mean_field({"x": data.distribution.patterns})[0].mean
            dead = (q < DEAD).all(-2).sum(-1).double()
            rows.append({"leak": leak, "epoch": epoch, "dead": float(dead.mean()), "of": SIZES[1]})
    table = pd.DataFrame(rows)
    with atomic_path(out / "tiny_leaks.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    typer.echo(table.pivot(index="epoch", columns="leak", values="dead").to_string())


if __name__ == "__main__":
    typer.run(main)
