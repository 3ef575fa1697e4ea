"""Try the same settings for every scheme on the shifter, so that each can be compared at its own best.

    python -m analysis.paper.settings_search --out results/paper

Eight recipes (all layers at once or layer by layer; recognition that begins with few units on or with half; two
learning rates) for each scheme, with the same number of steps. Writes ``OUT/settings.csv``: a row per scheme and recipe
with the fraction of restarts that solved the shifter, the median and the best log-likelihood.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.shifter_training import Recipe, judge, seconds_of, solved, train
from pyro_helm.runtime.atomic_files import atomic_path

BEST_KNOWN = -4.946
"""What ``best_known.py`` prints for its best restart, rounded down, nats per pattern."""

SCHEMES: dict[str, helm.Scheme] = {
    "reweighted_wake_sleep": helm.ReweightedWakeSleep(10),
    "wake_sleep": helm.WakeSleep(5),
    "reinforce": helm.Reinforce(10),
    "mean_field": helm.MeanField(),
    "exact_mean_field": helm.ExactMeanField(tolerance=1e-3),
}


def main(
    out: Annotated[Path, typer.Option(help="Folder for settings.csv.")] = Path("results/paper"),
    schemes: Annotated[str, typer.Option(help="Schemes, separated by commas.")] = ",".join(SCHEMES),
    restarts: Annotated[int, typer.Option(help="Machines per recipe.")] = 16,
    quick: Annotated[bool, typer.Option("--quick", help="One recipe, a few steps.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Train, judge, write and print."""
    torch.set_num_threads(threads)
    data = helm.load_data("shifter")
    grid = [Recipe(*values) for values in product((True, False), (-3.0, 0.0), (0.01, 0.03))]
    rows = []
    for name, recipe in product(schemes.split(","), grid[:1] if quick else grid):
        machine, history = train(
            SCHEMES[name], recipe, data, epochs=(5, 10) if not quick else (1, 1), restarts=2 if quick else restarts
        )
        table = judge(machine, data, num_samples=10 if quick else 300)
        rows.append(
            {
                "scheme": name,
                **vars(recipe),
                "solved": solved(table, BEST_KNOWN).mean(),
                "log_likelihood": table.log_likelihood.median(),
                "log_likelihood_best": table.log_likelihood.max(),
                "accuracy": table.accuracy.median(),
                "seconds": seconds_of(history) / len(table),
            }
        )
        typer.echo(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1, float_format="{:.3f}".format))
        with atomic_path(out / "settings.csv") as path:
            pd.DataFrame(rows).to_csv(path, index=False)


if __name__ == "__main__":
    typer.run(main)
