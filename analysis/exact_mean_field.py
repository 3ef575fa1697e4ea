"""How accurate the expected log-probabilities of ExactMeanField are, and what they cost, by the number of nodes.

    python -m analysis.exact_mean_field --out results/exact_mean_field

Layers of 10 causes and 20 units, whose 1,024 states are summed for the exact value, under 400 data with probabilities
from uniform to nearly certain: *mild* weights as a machine has early in training, and *extreme* ones (odds and rates
over twenty-four powers of ten, logits to +-400). Each tolerance gives a number of nodes and an error, in float64, and a
time relative to the deterministic loss of the same layer. An error is relative where the value itself exceeds 1 nat.
Writes ``OUT/exact_mean_field.csv`` and ``.png``, and prints the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from matplotlib.figure import Figure
from torch import Tensor

from pyro_helm.experiments import plots
from pyro_helm.layers import IMAGING, Imaging, LogProbs, NoisyOr, Sigmoid
from pyro_helm.layers.quadrature import cosine_rule, odds_rule, rate_rule
from pyro_helm.runtime.atomic_files import atomic_path

CAUSES, UNITS, DATA = 10, 20, 400
TOLERANCES = [10.0**-digits for digits in range(1, 14)]
SPREADS = ("mild", "extreme")
COLOURS = {"sigmoid": "#0072B2", "noisy_or": "#009E73", "odds": "#D55E00"}


def layer_of(imaging: str, spread: str, seed: int = 0) -> Imaging:
    """A layer with random weights and leaks, log-uniform where they are positive."""
    layer: Imaging = IMAGING[imaging](CAUSES, UNITS).double()
    generator = torch.Generator().manual_seed(seed)

    def uniform(like: Any, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator, dtype=torch.float64)

    with torch.no_grad():
        if imaging == "sigmoid":
            reach = 2.0 if spread == "mild" else 40.0
            layer.weight, layer.learned_leak = (uniform(t, -reach, reach) for t in (layer.weight, layer.learned_leak))
        else:
            low, high, leak = (-6.0, 2.0, -4.0) if spread == "mild" else (-27.6, 27.6, -27.6)
            layer.weight = uniform(layer.weight, low, high).exp()
            layer.learned_leak = uniform(layer.learned_leak, leak, 0.0).exp()
    return layer


def probabilities(seed: int = 0) -> Tensor:
    """Probabilities of the causes, ``[data, causes]``, a third of them within 1e-6 of 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = 20 * torch.randn(DATA, CAUSES, generator=generator, dtype=torch.float64)
    return torch.sigmoid(logits)


def number_of_nodes(layer: Imaging, tolerance: float) -> int:
    """Nodes that a tolerance takes."""
    weight, leak = (t.detach() for t in layer.weight_and_leak)
    size = weight.abs().sum(-2, keepdim=True) + leak.abs()
    if isinstance(layer, Sigmoid):
        return cosine_rule(size, tolerance).nodes.shape[-2]
    if isinstance(layer, NoisyOr):
        return rate_rule(leak, tolerance).nodes.shape[-2]
    return odds_rule(leak, size, tolerance).nodes.shape[-2]


def milliseconds(compute: Callable[[Tensor], LogProbs], q: Tensor, rounds: int) -> float:
    """Median time of a forward and a backward pass."""
    times = []
    for turn in range(rounds + 1):
        leaf = q.clone().requires_grad_()
        began = time.perf_counter()
        sum(log_prob.sum() for log_prob in compute(leaf)).backward()  # type: ignore[union-attr]
        if turn:
            times.append(1e3 * (time.perf_counter() - began))
    return median(times)


def measure(tolerances: list[float], rounds: int) -> pd.DataFrame:
    """One row per imaging model, spread of the weights and tolerance."""
    rows = []
    q = probabilities()
    for imaging in (name for name, kind in IMAGING.items() if kind.is_binary):
        for spread in SPREADS:
            layer = layer_of(imaging, spread)
            exact = layer.mean_log(q, tolerance=1e-10, max_enumerated=CAUSES)
            base = milliseconds(lambda q, layer=layer: layer.log_mean(q, max_enumerated=0), q, rounds)  # type: ignore[misc]
            for tolerance in tolerances:
                found = layer.mean_log_by_quadrature(q, tolerance=tolerance)
                error = max(
                    float(((a - b).abs() / b.abs().clamp(min=1)).max().detach())
                    for a, b in zip(found, exact, strict=True)
                )
                cost = milliseconds(
                    lambda q, layer=layer, tolerance=tolerance: layer.mean_log_by_quadrature(q, tolerance=tolerance),  # type: ignore[misc]
                    q,
                    rounds,
                )
                nodes = number_of_nodes(layer, tolerance)
                rows.append((imaging, spread, tolerance, nodes, error, cost / base))
    return pd.DataFrame(rows, columns=["imaging", "weights", "tolerance", "nodes", "error", "cost"])


def figure_of(table: pd.DataFrame) -> Figure:
    """Error and cost against the number of nodes."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    accuracy, cost = figure.subplots(1, 2)
    for (imaging, spread), group in table.groupby(["imaging", "weights"], sort=False):
        style = {"color": COLOURS[str(imaging)], "linestyle": "-" if spread == "mild" else "--", "marker": "."}
        label = f"{imaging}, {spread} weights"
        accuracy.plot(group.nodes, group.error, label=label, **style)
        cost.plot(group.nodes, group.cost, **style)
    accuracy.set(
        xscale="log", yscale="log", xlabel="nodes", ylabel="largest error of an expected log-probability, nats",
        title="Accuracy: exponential in the number of nodes",
    )  # fmt: skip
    cost.set(
        xscale="log", yscale="log", xlabel="nodes", ylabel="time, relative to the deterministic loss",
        title="Cost: proportional to it",
    )  # fmt: skip
    accuracy.legend(frameon=False, fontsize=8)
    for ax in (accuracy, cost):
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(
        "Each point is a tolerance, from 0.1 to 1e-13 nats; every error is below its tolerance until rounding sets in. "
        "Defaults: 1e-5 in float32, 1e-10 in float64.",
        fontsize=9,
    )
    return figure


def main(
    out: Annotated[Path, typer.Option(help="Folder for table and figure.")] = Path("results/exact_mean_field"),
    rounds: Annotated[int, typer.Option(help="Times each pass is measured.")] = 7,
    quick: Annotated[bool, typer.Option("--quick", help="Two tolerances, measured once.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Measure, draw and print."""
    torch.set_num_threads(threads)
    table = measure(TOLERANCES[1:3] if quick else TOLERANCES, 1 if quick else rounds)
    with atomic_path(out / "exact_mean_field.csv") as path:
        table.to_csv(path, index=False)
    plots.save_figure(figure_of(table), out / "exact_mean_field.png")
    typer.echo(table.to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    typer.run(main)
