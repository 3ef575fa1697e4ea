"""Every claim of speed, measured: training steps, restarts, scaling, epochs, likelihoods, kernels and start-up.

    python -m analysis.benchmarks.benchmark --out results/benchmarks

Those who are compared take turns in one process, with the same threads, machine, data and optimiser. Writes
``benchmarks.parquet``, ``benchmarks.csv`` and figures to OUT, prints ratios, and at the end which goals are met.
JAX and NumPyro are left out where they are not installed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer

from analysis.benchmarks import epochs, figures, likelihood_times, product_kernel, scaling, start_up, training_steps
from analysis.benchmarks.contenders import HAS_JAX, SCHEMES, table_of
from analysis.benchmarks.report import print_report
from analysis.benchmarks.timing import Effort, use
from pyro_helm.experiments.plots import save_figure
from pyro_helm.runtime.tables import write_table

GROUPS = {
    "training step": training_steps.measure,
    "restarts": scaling.measure_restarts,
    "scaling": scaling.measure_scaling,
    "epoch": epochs.measure,
    "likelihoods": likelihood_times.measure,
    "product over causes": product_kernel.measure,
    "start-up": start_up.measure,
}


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table and the figures.")] = Path("results/benchmarks"),
    threads: Annotated[int, typer.Option(help="Threads of torch and XLA.")] = 2,
    seconds: Annotated[float, typer.Option(help="Measured for each comparison, once everyone is ready.")] = 5.0,
    groups: Annotated[str, typer.Option(help="What to measure, separated by commas.")] = ",".join(GROUPS),
    device: Annotated[str, typer.Option(help="cpu or cuda; memory, kernels and start-up are the CPU's.")] = "cpu",
    schemes: Annotated[str, typer.Option(help="Whose training steps, separated by commas; all if empty.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="A little of each, to see that all works.")] = False,
) -> None:
    """Measure, write, draw, print."""
    chosen = groups.split(",")
    if unknown := set(chosen) - set(GROUPS):
        raise typer.BadParameter(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    named = tuple(filter(None, schemes.split(",")))
    if unknown := set(named) - set(SCHEMES):
        raise typer.BadParameter(f"no such scheme: {', '.join(unknown)}; there are {', '.join(SCHEMES)}")
    out.mkdir(parents=True, exist_ok=True)
    use(device, threads)
    torch.set_num_threads(threads)
    if not HAS_JAX:
        typer.echo('without JAX and NumPyro, which pip install -e ".[benchmark]" installs')
    _tell_if_busy()
    effort = Effort(threads, 0.0 if quick else seconds, quick, device, named)
    rows = []
    for group in chosen:
        with _compiler_cache_of_its_own():
            rows += GROUPS[group](effort)
        table = table_of(rows)
        write_table(table, out / "benchmarks")
    if "training step" in chosen:
        save_figure(figures.steps(table), out / "steps.png")
    if {"restarts", "scaling"} & set(chosen):
        save_figure(figures.growth(table), out / "scaling.png")
    print_report(table)
    typer.echo(f"table and figures: {out}")


@contextmanager
def _compiler_cache_of_its_own() -> Iterator[None]:
    """So that compiling is measured and not the reading of what an earlier run has compiled."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        yield
    del os.environ["TORCHINDUCTOR_CACHE_DIR"]


def _tell_if_busy() -> None:
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.5:
        typer.echo(
            f"the computer is busy (load {load:.1f}): threads that wait for one another may take many times longer"
        )


if __name__ == "__main__":
    typer.run(main)
