"""What each inference scheme learns, at equal steps and at equal seconds.

    python -m analysis.schemes --out results/schemes

Trains sigmoid belief networks on the shifter, bars, digits and, if ``PYRO_HELM_DATA`` has them, nltcs, sun09_presence
and ocr_letters, with every scheme from the same initial values: once for as many steps as every other, and once for as
long as reweighted wake-sleep took for them. Steps are those that ``fit`` takes by default, captured where that pays.
Test log-likelihoods are exact where the hidden units are few, otherwise by importance sampling from the guide. Since
restarts are paired, a scheme is compared with reweighted wake-sleep restart by restart: mean difference and 95 %
interval. Prints the table; writes ``OUT/schemes.parquet``, ``OUT/schemes.csv`` (one row per restart),
``OUT/summary.csv`` and ``OUT/schemes.png``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from matplotlib.figure import Figure
from scipy.stats import t as student_t

import pyro_helm as helm
from pyro_helm.experiments.console import print_table
from pyro_helm.experiments.plots import save_figure
from pyro_helm.experiments.scoring import cases_to_score
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.runtime.tables import write_table
from pyro_helm.schemes import Intractable

NETS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("shifter", (24, 2)),
    ("bars", (8, 2)),
    ("digits", (32, 16)),
    ("nltcs", (6, 4)),
    ("sun09_presence", (30, 10)),
    ("ocr_letters", (40, 20)),
)
REFERENCE = "reweighted_wake_sleep"
MOST_EXACT = 12
MOST_TRAINED = 10_000
MOST_SCORED = 500
BATCH_SIZE = 100
BUDGETS = {"steps": "o", "seconds": "s"}
COLOURS = {"steps": "#0072B2", "seconds": "#D55E00"}


def main(
    out: Annotated[Path, typer.Option(help="Folder for tables and figure.")] = Path("results/schemes"),
    steps: Annotated[int, typer.Option(help="Training steps of 100 cases each.")] = 500,
    restarts: Annotated[int, typer.Option(help="Machines per scheme.")] = 6,
    particles: Annotated[int, typer.Option(help="Draws per datum of every scheme that samples.")] = 5,
    data: Annotated[str, typer.Option(help="Data sets, separated by commas, or all.")] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each, to see that all works.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, score, print and draw."""
    torch.set_num_threads(threads)
    available = set(helm.available_data().query("here").name)
    nets = [net for net in NETS if net[0] in available and (data == "all" or net[0] in data.split(","))]
    num_samples = 500
    if quick:
        steps, restarts, num_samples, nets = 3, 2, 10, [("bars", (4, 2)), ("digits", (12, 10))]
    tables: list[pd.DataFrame] = []
    for name, hidden in nets:
        loaded = shortened(helm.load_data(name), 300 if quick else MOST_TRAINED, 50 if quick else MOST_SCORED)
        tables += of_data(loaded, hidden, steps, restarts, particles, num_samples)
        table = pd.concat(tables, ignore_index=True)
        write_table(table, out / "schemes")
        typer.echo(f"{name} done", err=True)
    summary = summarised(table)
    with atomic_path(out / "summary.csv") as path:
        summary.to_csv(path, index=False)
    save_figure(figure_of(summary), out / "schemes.png")
    print_table(summary, "test log-likelihood, nats per datum; difference to reweighted wake-sleep with 95 % interval")


def shortened(data: helm.Data, trained: int, scored: int) -> helm.Data:
    """The first cases, so that an epoch is short beside a training and scoring does not take longer than it."""
    return replace(data, train=data.train[:trained], valid=data.valid[:scored], test=data.test[:scored])


def schemes_of(particles: int) -> list[helm.Scheme]:
    """Every scheme of the library with its defaults, but for the number of particles."""
    return [kind(num_particles=particles) if kind.samples else kind() for kind in helm.SCHEMES.values()]


def of_data(
    data: helm.Data, hidden: tuple[int, ...], steps: int, restarts: int, particles: int, num_samples: int
) -> list[pd.DataFrame]:
    """One row per scheme, budget and restart."""
    sizes = (data.train.shape[1], *hidden)
    schemes = sorted(schemes_of(particles), key=lambda scheme: scheme.name != REFERENCE)  # whose time is the others'
    epochs = math.ceil(steps * BATCH_SIZE / len(data.train))
    tables: list[pd.DataFrame] = []
    seconds = math.inf
    for scheme in schemes:
        for budget in BUDGETS:
            limit: dict[str, Any] = {"num_epochs": epochs}
            if budget == "seconds" and scheme.name != REFERENCE:
                limit = {"num_epochs": 1000 * epochs, "max_seconds": seconds}
            try:
                table = trained(data, sizes, scheme, restarts, num_samples, **limit)
            except Intractable:
                break
            if scheme.name == REFERENCE:  # trained twice: the faster of the two is less of an accident
                seconds = min(seconds, float(table.seconds.iloc[0]))
            tables.append(table.assign(budget=budget))
            typer.echo(f"{data.name} {scheme.name} {budget}: {table.log_likelihood.median():.3f}", err=True)
    return tables


def trained(
    data: helm.Data, sizes: tuple[int, ...], scheme: helm.Scheme, restarts: int, num_samples: int, **limit: Any
) -> pd.DataFrame:
    """One row per restart of a scheme: log-likelihood, bound, steps and seconds."""
    model = BeliefNetwork(sizes, restarts=restarts, seed=0)
    guide = FactorialRecognition(sizes, restarts=restarts, seed=0)
    limit |= {"batch_size": BATCH_SIZE, "progress": False}
    result = helm.fit(model, guide, data.train, scheme=scheme, valid=data.valid, seed=0, **limit)
    last = result.history.iloc[-1]
    cases, weights = cases_to_score(data)
    is_exact = sum(sizes[1:]) <= MOST_EXACT
    scores = helm.log_likelihood(
        model,
        guide,
        cases,
        method="exact" if is_exact else "importance",
        num_samples=num_samples,
        weights=weights,
        seed=0,
    ).summary
    num_steps = int(last.epoch) * math.ceil(len(data.train) / BATCH_SIZE)
    return pd.DataFrame(
        {
            "dataset": data.name,
            "sizes": "-".join(map(str, sizes)),
            "scheme": scheme.name,
            "method": "exact" if is_exact else "importance",
            "restart": scores.restart,
            "failed": result.summary.failed,
            "log_likelihood": scores.log_likelihood,
            "steps": num_steps,
            "seconds": float(last.seconds),
        }
    )


def summarised(table: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, scheme and budget: median, and the paired difference to reweighted wake-sleep."""
    rows = []
    for (dataset, budget), group in table.groupby(["dataset", "budget"], sort=False):
        wide = group.pivot(index="restart", columns="scheme", values="log_likelihood")
        for scheme, of_scheme in group.groupby("scheme", sort=False):
            difference = (wide[scheme] - wide[REFERENCE]).to_numpy()
            first = of_scheme.iloc[0]
            rows.append(
                {
                    "dataset": dataset,
                    "sizes": first["sizes"],
                    "budget": f"equal {budget}",
                    "scheme": scheme,
                    "log_likelihood": of_scheme.log_likelihood.median(),
                    "difference": difference.mean(),
                    "half_interval": half_interval(difference),
                    "steps": int(first["steps"]),
                    "ms_per_step": 1000 * first["seconds"] / first["steps"],
                }
            )
    summary = pd.DataFrame(rows)
    order = {name: number for number, name in enumerate(dict.fromkeys(table.dataset))}
    return summary.sort_values(
        ["dataset", "budget", "log_likelihood"],
        key=lambda column: column.map(order) if column.name == "dataset" else column,
        ascending=[True, False, False],
        ignore_index=True,
    )


def half_interval(differences: np.ndarray) -> float:
    """Half the width of the 95 % interval of a mean, by Student's t."""
    count = len(differences)
    if count < 2:
        return math.nan
    return float(student_t.ppf(0.975, count - 1) * differences.std(ddof=1) / math.sqrt(count))


def figure_of(summary: pd.DataFrame) -> Figure:
    """A panel per data set: the difference of each scheme to reweighted wake-sleep at equal steps and equal seconds."""
    sets = list(dict.fromkeys(summary.dataset))
    schemes = list(helm.SCHEMES)
    columns = min(3, len(sets))
    lines = math.ceil(len(sets) / columns)
    figure = Figure(figsize=(2.2 + 3.6 * columns, 0.9 + 3.9 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for ax in grid.flat[len(sets) :]:
        ax.axis("off")
    for ax, dataset in zip(grid.flat, sets, strict=False):
        panel = summary[summary.dataset == dataset]
        for (budget, marker), shift in zip(BUDGETS.items(), (-0.14, 0.14), strict=True):
            rows = panel[panel.budget == f"equal {budget}"]
            places = [schemes.index(scheme) + shift for scheme in rows.scheme]
            ax.errorbar(
                rows.difference, places, xerr=rows.half_interval, fmt=marker, color=COLOURS[budget], markersize=4,
                linewidth=1.2, label=f"equal {budget}",
            )  # fmt: skip
        ax.axvline(0, color="0.5", linewidth=1)
        ax.set(title=f"{dataset} {panel['sizes'].iloc[0]}", yticks=range(len(schemes)), yticklabels=schemes)
        # far behind is far behind: the scale is for those that compete
        ax.set_xscale("symlog", linthresh=0.3)
        ticks = [-100, -30, -10, -3, -1, -0.3, 0, 0.3, 1, 3]
        low, high = min(panel.difference.min(), -0.3), max(panel.difference.max(), 0.3)
        shown = [tick for tick in ticks if 2 * low <= tick <= 2 * high]
        ax.set_xticks(shown, [f"{tick:g}" for tick in shown])
        ax.minorticks_off()
        ax.grid(alpha=0.25, axis="both")
        ax.spines[["top", "right"]].set_visible(False)
    grid[0, 0].invert_yaxis()
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(
        "Test log-likelihood minus that of reweighted wake-sleep, nats per datum; 95 % intervals over paired restarts",
        fontsize=10,
    )
    return figure


if __name__ == "__main__":
    typer.run(main)
