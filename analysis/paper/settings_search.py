"""Try the same settings for every scheme on the shifter, so that each can be compared at its own best.

    python -m analysis.paper.settings_search --out results/paper

Eight recipes (all layers at once or layer by layer; recognition that begins with few units on or with half; two
learning rates) for each scheme, with the same number of steps. Writes ``OUT/settings.csv``: a row per scheme and recipe
with the fraction of restarts that solved the shifter, the median and the best log-likelihood. The runs are a study in
``OUT/settings``; the same command goes on where it was ended.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import pyro_helm as helm
from analysis.paper.shifter_training import (
    accuracy_of,
    accuracy_of_few_draws,
    judged,
    shifter_machine,
    solved,
    train_by_recipe,
)
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
    threads: Annotated[int, typer.Option(help="Processes that train at a time, one thread each.")] = 2,
) -> None:
    """Train, judge, write and print."""
    grid: dict[str, Any] = {
        "layerwise": [True, False],
        "recognition_bias": [-3.0, 0.0],
        "learning_rate": [0.01, 0.03],
        "lower_epochs": 5,
    }
    if quick:
        grid = {"layerwise": True, "recognition_bias": -3.0, "learning_rate": 0.01, "lower_epochs": 1}
    study = helm.Study(
        out / "settings",
        datasets=[{"data": "shifter", "train": 500, "test": 100} if quick else "shifter"],
        machines=[{"machine": shifter_machine, "arguments": {"imaging": "odds"}}],
        schemes=[{"scheme": SCHEMES[name], "name": name} for name in schemes.split(",")],
        settings=grid,
        budget="1 epoch" if quick else "10 epochs",
        restarts=2 if quick else restarts,
        scores={"num_samples": 10 if quick else 300, "splits": ["test"]},
        training=train_by_recipe,
        measure=accuracy_of_few_draws if quick else accuracy_of,
    )
    study.carry_out(threads)
    table = judged(study)
    recipe = ["layerwise", "recognition_bias", "learning_rate"]
    table = table.assign(solved=solved(table, BEST_KNOWN), **{name: grid[name] for name in recipe if name not in table})
    rows = table.groupby(["scheme", *recipe], sort=False).agg(
        solved=("solved", "mean"),
        log_likelihood=("log_likelihood", "median"),
        log_likelihood_best=("log_likelihood", "max"),
        accuracy=("accuracy", "median"),
        seconds=("seconds", lambda seconds: seconds.iloc[0] / len(seconds)),
    )
    typer.echo(rows.reset_index().to_string(index=False, float_format="{:.3f}".format))
    with atomic_path(out / "settings.csv") as path:
        rows.reset_index().to_csv(path, index=False)


if __name__ == "__main__":
    typer.run(main)
