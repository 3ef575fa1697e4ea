"""Which schemes solve the shifter, and how often: the table of the reproduction.

    python -m analysis.paper.solutions --out results/paper

Trains 64 restarts of a 32-24-2 odds machine with every scheme at its own best recipe (``settings_search.py``), a
quarter as many where a row takes long and solves next to none. Judges each by the log-likelihood of the exact
distribution under the stochastic rule and by whether the top layer tells the direction of the shift. *Solved* is within
0.25 nats of the best machine known, with 99 % of directions right. The best known is the best of all machines here and
of one set by hand and polished (``best_known.py``). The runs are a study in ``OUT/solutions``; the same command goes on
where it was ended. Writes ``OUT/solutions.csv`` (a row per machine and row of the table), ``OUT/table.csv``, and the
machines and learning curves of each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.best_known import polished
from analysis.paper.shifter_training import (
    accuracy_of,
    accuracy_of_few_draws,
    judge,
    judged,
    shifter_machine,
    solved,
    train_by_recipe,
)
from pyro_helm.runtime.tables import write_table

BY_HAND = "set by hand, polished"


AT_ONCE = {"layerwise": False, "recognition_bias": 0.0, "learning_rate": 0.01}
LAYERWISE = {"layerwise": True, "recognition_bias": -3.0, "learning_rate": 0.01}
FASTER = LAYERWISE | {"learning_rate": 0.03}
GRADIENT = {"on_distribution": True, "optimizer": helm.ConjugateGradient, "batch_size": None, "dtype": torch.float64}
DETERMINISTIC = {"scheme": helm.MeanField(), **LAYERWISE}


def epochs(lower: int, whole: int) -> dict[str, Any]:
    """Of the lower two layers, if the recipe is layer by layer, and of the whole."""
    return {"lower_epochs": lower, "budget": f"{whole} epochs"}


# Each as a study's entry, at the scheme's best recipe of ``settings_search.py``, which trains odds machines with Adam;
# conjugate gradient and the other imaging models take that of the deterministic loss over. The longest come first, so
# that the processes end together.
ROWS: dict[str, dict[str, Any]] = {
    "exact_mean_field": {
        "scheme": helm.ExactMeanField(tolerance=1e-3), **LAYERWISE, **epochs(3, 5), "batch_size": 50,
    },
    "mean_field, conjugate gradient": {**DETERMINISTIC, **epochs(3, 5), **GRADIENT},
    "mean_field, conjugate gradient, at once": {**DETERMINISTIC, **AT_ONCE, **epochs(0, 6), **GRADIENT},
    "reweighted_wake_sleep": {"scheme": helm.ReweightedWakeSleep(10), **LAYERWISE, **epochs(5, 9)},
    "reinforce": {"scheme": helm.Reinforce(10), **FASTER, **epochs(5, 9)},
    "wake_sleep": {"scheme": helm.WakeSleep(5), **FASTER, **epochs(5, 10)},
    "mean_field, then reweighted_wake_sleep": {**DETERMINISTIC, **epochs(5, 5), "then": helm.ReweightedWakeSleep(10)},
    "mean_field, Adam": {**DETERMINISTIC, **epochs(5, 10)},
    "mean_field, Adam, noisy_or": {**DETERMINISTIC, **epochs(5, 10)},
    "mean_field, Adam, sigmoid": {**DETERMINISTIC, **epochs(5, 10)},
}  # fmt: skip


LONG = ("exact_mean_field", "mean_field, conjugate gradient", "mean_field, conjugate gradient, at once", "reinforce")
"""Rows of which a quarter of the restarts are trained."""


def imaging_of(row: str) -> str:
    """Imaging model of a row."""
    return next((imaging for imaging in ("noisy_or", "sigmoid") if row.endswith(imaging)), "odds")


def recipe_of(row: str) -> str:
    """What a row is called without its imaging model."""
    return row.removesuffix(f", {imaging_of(row)}")


def train_rows(out: Path, names: Sequence[str], restarts: int, *, quick: bool, processes: int) -> pd.DataFrame:
    """Train and judge these rows; save the machine and learning curve of each, and return a row per restart."""
    few = {**epochs(1, 1), "then_epochs": 1} if quick else {}
    few_iterations = {"optimizer": partial(helm.ConjugateGradient, iterations=1)} if quick else {}
    parts = []
    for is_odds, is_long in dict.fromkeys((imaging_of(name) == "odds", name in LONG) for name in names):
        group = [name for name in names if (imaging_of(name) == "odds", name in LONG) == (is_odds, is_long)]
        study = helm.Study(
            out / "solutions",
            datasets=[{"data": "shifter", "train": 200, "test": 100} if quick else "shifter"],
            machines=[
                {"machine": shifter_machine, "name": imaging, "arguments": {"imaging": imaging}}
                for imaging in dict.fromkeys(map(imaging_of, group))
            ],
            schemes=[
                ROWS[name] | {"name": recipe} | few | (few_iterations if "optimizer" in ROWS[name] else {})
                for recipe, name in {recipe_of(name): name for name in group}.items()
            ],
            restarts=max(1, restarts // 4) if is_long and not quick else restarts,
            scores={"num_samples": 10 if quick else 500, "splits": ["test"]},
            training=train_by_recipe,
            measure=accuracy_of_few_draws if quick else accuracy_of,
        )
        study.carry_out(processes)
        table = judged(study)
        table["row"] = table.scheme if is_odds else table.scheme + ", " + table.imaging
        parts.append(table)
        for run, name in table.groupby("run").row.first().items():
            helm.save(out / f"{stem_of(name)}.safetensors", *study.machine(str(run)))
            history = study.history()
            write_table(history[history.run == run], out / f"{stem_of(name)}-history")
    return pd.concat(parts, ignore_index=True)


def stem_of(name: str) -> str:
    """Beginning of the names of a row's files."""
    return name.replace(", ", "-").replace(" ", "_")


def judge_by_hand(out: Path, *, quick: bool) -> pd.DataFrame:
    """The machine set by hand, polished and judged."""
    data = helm.load_data("shifter")
    machine = polished(data, quick=quick)
    helm.save(out / f"{stem_of(BY_HAND)}.safetensors", *machine)
    effort = {"num_samples": 10, "draws": 10} if quick else {"num_samples": 500}
    return judge(machine, data, **effort).assign(row=BY_HAND, seconds=float("nan"))


def tabulate(rows: pd.DataFrame) -> pd.DataFrame:
    """The table, best first: fraction solved, median and best log-likelihood, median accuracy, seconds of training."""
    table = (
        rows.assign(solved=solved(rows, rows.log_likelihood.max()))
        .groupby("row")
        .agg(
            restarts=("restart", "count"),
            solved=("solved", "mean"),
            median=("log_likelihood", "median"),
            best=("log_likelihood", "max"),
            direction=("accuracy", "median"),
            seconds=("seconds", "first"),
        )
    )
    return table.sort_values(["solved", "median"], ascending=False).reset_index()


def main(
    out: Annotated[Path, typer.Option(help="Folder for tables and machines.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines per row; of the long ones a quarter.")] = 64,
    rows: Annotated[str, typer.Option(help="Rows of the table, separated by semicolons.")] = ";".join(ROWS),
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each.")] = False,
    threads: Annotated[int, typer.Option(help="Processes that train at a time, one thread each.")] = 2,
) -> None:
    """Train, judge, write and print."""
    typer.echo(solve(out, [*rows.split(";"), BY_HAND], 2 if quick else restarts, quick=quick, processes=threads))


def solve(out: Path, names: Sequence[str], restarts: int, *, quick: bool, processes: int) -> str:
    """Train and judge these rows, write the tables, and return the one to print."""
    out.mkdir(parents=True, exist_ok=True)
    unknown = set(names) - {*ROWS, BY_HAND}
    if unknown:
        raise typer.BadParameter(f"there is no row {', '.join(sorted(unknown))}; known are {'; '.join(ROWS)}")
    trained = [name for name in names if name != BY_HAND]
    parts = [train_rows(out, trained, restarts, quick=quick, processes=processes)] if trained else []
    parts += [judge_by_hand(out, quick=quick)] if BY_HAND in names else []
    rows = pd.concat(parts).sort_values(["row", "restart"], ignore_index=True)
    write_table(rows[["row", "restart", "log_likelihood", "accuracy", "seconds"]], out / "solutions")
    table = tabulate(rows)
    write_table(table, out / "table")
    return (
        f"log-likelihood in nats per pattern under the stochastic rule; best known {rows.log_likelihood.max():.3f}\n"
        + table.to_string(index=False, float_format="{:.3f}".format)
    )


if __name__ == "__main__":
    typer.run(main)
