"""Which schemes solve the shifter, and how often: the table of the reproduction.

    python -m analysis.paper.solutions --out results/paper

Trains 64 restarts of a 32-24-2 odds machine with every scheme at its own best recipe (``settings_search.py``), and
judges each by the log-likelihood of the exact distribution under the stochastic rule and by whether the top layer tells
the direction of the shift. *Solved* is within 0.25 nats of the best machine known, with 99 % of directions right. The
best known is the best of all machines here and of one set by hand and polished (``best_known.py``). Two processes train
at a time. Writes ``OUT/solutions.csv`` (a row per machine and row of the table), ``OUT/table.csv``, and the machines
and learning curves of each row.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.best_known import polished
from analysis.paper.shifter_training import Recipe, judge, polish, seconds_of, solved, train
from pyro_helm.runtime.tables import write_table

BY_HAND = "set by hand, polished"


@dataclass(frozen=True)
class Row:
    """A row of the table: a scheme at its recipe.

    Args:
        scheme: of all the training, but for what ``then`` does.
        recipe: the scheme's best of ``settings_search.py``, which trains odds machines with Adam; conjugate gradient
            and the other imaging models take that of the deterministic loss over.
        epochs: of the lower two layers (if the recipe is layer by layer) and of the whole.
        imaging: of all layers.
        on_distribution: train on the 508 patterns, weighted by their probabilities, not on samples of them.
        settings: further arguments of :func:`pyro_helm.fit`.
        then: scheme that goes on for another five epochs.

    """

    scheme: helm.Scheme
    recipe: Recipe
    epochs: tuple[int, int] = (5, 10)
    imaging: str = "odds"
    on_distribution: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    then: helm.Scheme | None = None


AT_ONCE = Recipe(layerwise=False, recognition_bias=0.0, learning_rate=0.01)
LAYERWISE = Recipe(layerwise=True, recognition_bias=-3.0, learning_rate=0.01)
FASTER = Recipe(layerwise=True, recognition_bias=-3.0, learning_rate=0.03)
GRADIENT = {"optimizer": helm.ConjugateGradient, "batch_size": None, "dtype": torch.float64}

# the longest first, so that the two processes end together
ROWS: dict[str, Row] = {
    "exact_mean_field": Row(helm.ExactMeanField(tolerance=1e-3), LAYERWISE, (3, 5), settings={"batch_size": 50}),
    "mean_field, conjugate gradient": Row(helm.MeanField(), LAYERWISE, (3, 5), on_distribution=True, settings=GRADIENT),
    "mean_field, conjugate gradient, at once": Row(
        helm.MeanField(), AT_ONCE, (0, 6), on_distribution=True, settings=GRADIENT
    ),
    "reweighted_wake_sleep": Row(helm.ReweightedWakeSleep(10), LAYERWISE, (5, 9)),
    "reinforce": Row(helm.Reinforce(10), FASTER, (5, 9)),
    "wake_sleep": Row(helm.WakeSleep(5), FASTER),
    "mean_field, then reweighted_wake_sleep": Row(
        helm.MeanField(), LAYERWISE, (5, 5), then=helm.ReweightedWakeSleep(10)
    ),
    "mean_field, Adam": Row(helm.MeanField(), LAYERWISE),
    "mean_field, Adam, noisy_or": Row(helm.MeanField(), LAYERWISE, imaging="noisy_or"),
    "mean_field, Adam, sigmoid": Row(helm.MeanField(), LAYERWISE, imaging="sigmoid"),
}


def run(name: str, out: Path, restarts: int, *, quick: bool) -> pd.DataFrame:
    """Train, save and judge the machines of a row."""
    torch.set_num_threads(1)
    data = helm.load_data("shifter")
    stem = name.replace(", ", "-").replace(" ", "_")
    if name == BY_HAND:
        machine = polished(data, quick=quick)
        seconds = float("nan")
    else:
        row = ROWS[name]
        machine, history = train(
            row.scheme,
            row.recipe,
            data,
            epochs=(1, 1) if quick else row.epochs,
            restarts=restarts,
            imaging=row.imaging,
            cases=data.distribution if row.on_distribution else data.train,
            **row.settings,
        )
        if row.then is not None:
            polishing = polish(machine, row.then, data, epochs=1 if quick else 5, learning_rate=0.01)
            history = pd.concat([history, polishing], ignore_index=True)
        write_table(history, out / f"{stem}-history")
        seconds = seconds_of(history)
    helm.save(out / f"{stem}.safetensors", *machine)
    return judge(machine, data, num_samples=10 if quick else 500).assign(row=name, seconds=seconds)


def tabulate(judged: pd.DataFrame) -> pd.DataFrame:
    """The table, best first: fraction solved, median and best log-likelihood, median accuracy, seconds of training."""
    best_known = judged.log_likelihood.max()
    judged = judged.assign(solved=solved(judged, best_known))
    table = judged.groupby("row").agg(
        restarts=("restart", "count"),
        solved=("solved", "mean"),
        median=("log_likelihood", "median"),
        best=("log_likelihood", "max"),
        direction=("accuracy", "median"),
        seconds=("seconds", "first"),
    )
    return table.sort_values(["solved", "median"], ascending=False).reset_index()


def main(
    out: Annotated[Path, typer.Option(help="Folder for tables and machines.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines per row.")] = 64,
    rows: Annotated[str, typer.Option(help="Rows of the table, separated by semicolons.")] = ";".join(ROWS),
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each.")] = False,
    threads: Annotated[int, typer.Option(help="Processes that train at a time, one thread each.")] = 2,
) -> None:
    """Train, judge, write and print."""
    typer.echo(solve(out, [*rows.split(";"), BY_HAND], 2 if quick else restarts, quick=quick, processes=threads))


def solve(out: Path, names: Iterable[str], restarts: int, *, quick: bool, processes: int) -> str:
    """Train and judge these rows, write the tables, and return the one to print."""
    out.mkdir(parents=True, exist_ok=True)
    names = list(names)
    unknown = set(names) - {*ROWS, BY_HAND}
    if unknown:
        raise typer.BadParameter(f"there is no row {', '.join(sorted(unknown))}; known are {'; '.join(ROWS)}")
    parts = []
    # spawned: a forked process would inherit torch's threads
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run, name, out, restarts, quick=quick) for name in names]):
            parts.append(done.result())
            judged = pd.concat(parts).sort_values(["row", "restart"], ignore_index=True)
            write_table(judged, out / "solutions")
    table = tabulate(judged)
    write_table(table, out / "table")
    return (
        f"log-likelihood in nats per pattern under the stochastic rule; best known {judged.log_likelihood.max():.3f}\n"
        + table.to_string(index=False, float_format="{:.3f}".format)
    )


if __name__ == "__main__":
    typer.run(main)
