"""What each inference scheme learns, at equal steps and at equal seconds.

    python -m analysis.schemes --out results/schemes

Trains sigmoid belief networks on the shifter, bars, digits and, if ``PYRO_HELM_DATA`` has them, nltcs, sun09_presence
and ocr_letters, with every scheme from the same initial values: once for as many steps as every other, and once for as
long as reweighted wake-sleep took for them. Steps are those that ``fit`` takes by default, captured where that pays.
Test log-likelihoods are exact where the hidden units are few, otherwise by importance sampling from the guide. Since
restarts are paired, a scheme is compared with reweighted wake-sleep restart by restart: mean difference and 95 %
interval. The runs are a study in ``OUT/study``; the same command goes on where it was ended. Prints the table; writes
``OUT/schemes.parquet``, ``OUT/schemes.csv`` (final numbers of every restart), ``OUT/summary.csv`` and
``OUT/schemes.png``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from matplotlib.figure import Figure

import pyro_helm as helm
from pyro_helm.experiments.console import print_table
from pyro_helm.experiments.plots import save_figure
from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.runtime.suggestions import unknown
from pyro_helm.runtime.tables import write_table

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
    schemes: Annotated[str, typer.Option(help="Schemes beside the reference, separated by commas, or all.")] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each, to see that all works.")] = False,
    threads: Annotated[int, typer.Option(help="Processes that train at a time, one thread each.")] = 1,
    equal_seconds: Annotated[bool, typer.Option(help="Train for equal seconds too, not for equal steps alone.")] = True,
) -> None:
    """Train, score, print and draw."""
    available = set(helm.available_data().query("here").name)
    nets = [net for net in NETS if net[0] in available and (data == "all" or net[0] in data.split(","))]
    rows, num_samples = {"train": MOST_TRAINED, "valid": MOST_SCORED, "test": MOST_SCORED}, 500
    settings: dict[str, Any] = {"batch_size": BATCH_SIZE}
    if quick:
        settings |= {"step": "eager", "batch_size": 20}  # capturing takes longer than these few steps
        steps, restarts, num_samples, nets = 3, 2, 10, [("bars", (4, 2)), ("digits", (12, 10))]
        rows = {"train": 60, "valid": 20, "test": 20}
    for method, few in (("exact", True), ("importance", False)):
        asked = [net for net in nets if (sum(net[1]) <= MOST_EXACT) == few]
        datasets = [{"data": name, **rows, "machines": [machine_of(hidden)]} for name, hidden in asked]
        common: dict[str, Any] = {
            # quickly, every scheme is trained on the small net, and on the other one that trains and one that can't
            "schemes": schemes_of(particles, "vimco,exact_em" if quick and not few else schemes),
            "settings": settings,
            "restarts": restarts,
            "scores": {"method": method, "num_samples": num_samples, "splits": ["test"]},
        }
        if datasets:
            runs = at_equal_steps(out / "study", datasets, f"{steps} steps", threads, common)
            if equal_seconds:
                at_equal_seconds(out / "study", datasets, runs, threads, common)
    study = helm.Study.open(out / "study")
    write_table(study.table(), out / "schemes")
    summary = summarised(study, [name for name, _ in nets])
    with atomic_path(out / "summary.csv") as path:
        summary.to_csv(path, index=False)
    save_figure(figure_of(summary), out / "schemes.png")
    print_table(summary, "test log-likelihood, nats per datum; difference to reweighted wake-sleep with 95 % interval")


def machine_of(hidden: Sequence[int]) -> str:
    """The line of a study that stands for a sigmoid belief network."""
    return f"sigmoid {'-'.join(map(str, hidden))}"


def schemes_of(particles: int, names: str) -> list[helm.Scheme]:
    """Every scheme, or those named and the reference, with defaults but for the number of particles."""
    chosen = set(helm.SCHEMES) if names == "all" else {REFERENCE, *names.split(",")}
    if unknown_names := chosen - set(helm.SCHEMES):
        raise typer.BadParameter(unknown("scheme", unknown_names.pop(), helm.SCHEMES), param_hint="--schemes")
    kinds = [kind for name, kind in helm.SCHEMES.items() if name in chosen]
    return [kind(num_particles=particles) if kind.samples else kind() for kind in kinds]


def at_equal_steps(
    folder: Path, datasets: Sequence[Mapping[str, Any]], steps: str, workers: int, common: Mapping[str, Any]
) -> pd.DataFrame:
    """Train with every scheme for so many steps; the table of these runs."""
    study = helm.Study(folder, datasets=datasets, budget=steps, **common)
    runs = study.run(workers)
    _end_if_interrupted(study)
    return runs


def at_equal_seconds(
    folder: Path, datasets: Sequence[Mapping[str, Any]], runs: pd.DataFrame, workers: int, common: Mapping[str, Any]
) -> None:
    """Train with every scheme for the seconds that the reference took in these runs."""
    seconds = runs[runs.scheme == REFERENCE].set_index("dataset").seconds
    timed = [{**dataset, "budget": f"{seconds[dataset['data']]:.6f} seconds"} for dataset in datasets]
    study = helm.Study(folder, datasets=timed, **common)
    study.run(workers)
    _end_if_interrupted(study)


def _end_if_interrupted(study: helm.Study) -> None:
    if study.interrupted is not None:  # the same command goes on
        raise SystemExit(128 + study.interrupted)


def summarised(study: helm.Study, datasets: Sequence[str]) -> pd.DataFrame:
    """One row per data set, scheme and budget: median, and the paired difference to reweighted wake-sleep."""
    keys = ["dataset", "machine", "budget", "scheme"]
    rows = study.chosen().merge(study.differences(REFERENCE), "left", keys)
    sizes = study.table().groupby("dataset").sizes.first()
    summary = pd.DataFrame(
        {
            "dataset": rows.dataset,
            "sizes": rows.dataset.map(sizes),
            "budget": rows.budget.str.endswith("steps").map({True: "equal steps", False: "equal seconds"}),
            "scheme": rows.scheme,
            "log_likelihood": rows.log_likelihood,
            "difference": rows.difference.where(rows.scheme != REFERENCE, 0.0),
            "half_interval": (rows.high - rows.low) / 2,
            "steps": rows.steps,
            "ms_per_step": rows.ms_per_step,
        }
    )
    place = {name: number for number, name in enumerate(datasets)}
    return summary.sort_values(
        ["dataset", "budget", "log_likelihood"],
        key=lambda column: column.map(place) if column.name == "dataset" else column,
        ascending=[True, False, False],
        ignore_index=True,
    )


def figure_of(summary: pd.DataFrame) -> Figure:
    """A panel per data set: the difference of each scheme to reweighted wake-sleep at equal steps and equal seconds."""
    sets = list(dict.fromkeys(summary.dataset))
    schemes = [name for name in helm.SCHEMES if name in set(summary.scheme)]
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
