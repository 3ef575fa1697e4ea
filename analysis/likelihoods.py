"""How far each estimate of a log-likelihood can be trusted, against the truth or the sandwich around it.

    python -m analysis.likelihoods --out results/likelihoods

Trains belief networks of 8 to 200 hidden units on the shifter, digits, and if ``PYRO_HELM_DATA`` has them OCR letters
and binarised MNIST. Those of up to 20 hidden units are scored on test cases against the exact log-likelihood, with the
guide that was trained with them and with one that was not; larger ones on their own dreams, between a lower and an
upper bound. Prints the table and writes it to ``OUT.parquet`` and ``OUT.csv``, and the figure to ``OUT.png``.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from matplotlib.figure import Figure
from scipy.stats import t as student_t
from torch import Tensor

import pyro_helm as helm
from pyro_helm.experiments.console import print_table
from pyro_helm.experiments.plots import save_figure
from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods.ais import reverse_ais
from pyro_helm.likelihoods.gap import dream
from pyro_helm.likelihoods.pareto import khat_threshold
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.tables import write_table

NETS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("shifter", (8,)),
    ("shifter", (12, 4)),
    ("digits", (16,)),
    ("digits", (10, 6, 4)),
    ("ocr_letters", (20,)),
    ("bmnist", (16,)),
    ("digits", (32, 16)),
    ("ocr_letters", (60, 40)),
    ("bmnist", (120, 60, 20)),
)
MOST_EXACT = 20
CHAINS = 4


def main(
    out: Annotated[Path, typer.Option(help="Stem of the table and the figure.")] = Path("results/likelihoods"),
    updates: Annotated[int, typer.Option(help="Training steps of each network, on 100 cases each.")] = 1500,
    num_data: Annotated[int, typer.Option(help="Test cases per network of up to 20 hidden units.")] = 100,
    num_dreams: Annotated[int, typer.Option(help="Dreams per larger network.")] = 20,
    samples: Annotated[str, typer.Option(help="Importance samples per datum.")] = "10,100,1000,10000",
    steps: Annotated[str, typer.Option(help="Steps of each chain of annealed importance sampling.")] = "10,30,100,300",
    quick: Annotated[bool, typer.Option("--quick", help="A little of each, to see that all works.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Train, score, print and draw."""
    torch.set_num_threads(threads)
    settings = {"samples": _numbers(samples), "steps": _numbers(steps)}
    nets = [net for net in NETS if net[0] in set(helm.available_data().query("here").name)]
    if quick:
        updates, num_data, num_dreams, settings = 20, 5, 3, {"samples": [40, 100], "steps": [3, 5]}
        nets = [("shifter", (8,)), ("digits", (32, 16))]
    rows: list[dict[str, Any]] = []
    for name, hidden in nets:
        data = helm.load_data(name)
        model, guide = trained(data, hidden, updates)
        labels = {"dataset": name, "sizes": "-".join(map(str, model.sizes)), "hidden": sum(hidden)}
        if sum(hidden) <= MOST_EXACT:
            found = score_exactly(model, guide, data.test[:num_data], **settings)
        else:
            found = score_dreams(model, guide, num_dreams, **settings)
        rows += [labels | row for row in found]
        typer.echo(f"{labels['dataset']} {labels['sizes']} done", err=True)
    table = pd.DataFrame(rows)
    print_table(table, "errors in nats per datum, estimate minus truth or middle of the sandwich; seconds per datum")
    print_table(calibration(table), "share of 95 % intervals that hold the exact log-likelihood")
    write_table(table, out)
    save_figure(draw(table), out.with_suffix(".png"))
    typer.echo(f"table and figure: {out}")


def trained(data: helm.Data, hidden: tuple[int, ...], updates: int) -> tuple[BeliefNetwork, FactorialRecognition]:
    """A network of these hidden layers, trained for about so many steps."""
    cases = data.train[:5000]
    sizes = (cases.shape[1], *hidden)
    epochs = math.ceil(updates / math.ceil(len(cases) / 100))
    model, guide = BeliefNetwork(sizes, seed=0), FactorialRecognition(sizes, seed=0)
    scheme = helm.ReweightedWakeSleep(5)
    helm.fit(model, guide, cases, scheme=scheme, num_epochs=epochs, batch_size=100, progress=False)
    return model, guide


def score_exactly(
    model: BeliefNetwork, guide: FactorialRecognition, x: Tensor, **settings: list[int]
) -> list[dict[str, Any]]:
    """Every estimate on test cases, against the exact value, from a trained and an untrained guide."""
    truth = helm.log_likelihood(model, None, x, method="exact").table.log_likelihood.to_numpy()
    untrained = FactorialRecognition(model.sizes, seed=1)
    return [
        {"guide": which, "truth": truth.mean(), "half_width": 0.0, **row, **against(scores, truth, number)}
        for which, proposal in (("trained", guide), ("untrained", untrained))
        for row, number, scores in estimates(model, proposal, x, **settings)
    ]


def score_dreams(
    model: BeliefNetwork, guide: FactorialRecognition, num_dreams: int, **settings: list[int]
) -> list[dict[str, Any]]:
    """Every estimate on dreams, against the middle of the sandwich that the longest chains make."""
    torch.manual_seed(0)
    with torch.no_grad():
        units = dream(model, num_dreams)
        longest = max(settings["steps"])
        upper = reverse_ais(model, guide, units, num_chains=CHAINS, schedule=longest)[0].double().numpy()
    rows = list(estimates(model, guide, units[0][0], **settings))
    lower = next(
        scores.table.log_likelihood.to_numpy()
        for row, _, scores in rows
        if row["method"] == "ais" and row["number"] == longest
    )
    middle, half = (upper + lower) / 2, float((upper - lower).mean() / 2)
    return [
        {"guide": "trained", "truth": middle.mean(), "half_width": half, **row, **against(scores, middle, number)}
        for row, number, scores in rows
    ]


def estimates(
    model: BeliefNetwork, guide: FactorialRecognition, x: Tensor, samples: list[int], steps: list[int]
) -> list[tuple[dict[str, Any], int, helm.Scores]]:
    """By both methods at every cost: what it cost, the draws of each datum, and the scores."""
    runs: list[tuple[str, int, dict[str, Any]]] = [
        ("importance", number, {"num_samples": number}) for number in samples
    ]
    runs += [("ais", number, {"schedule": number, "num_chains": CHAINS}) for number in steps]
    scored = []
    for method, number, arguments in runs:
        began = time.perf_counter()
        scores = helm.log_likelihood(model, guide, x, method=method, **arguments)
        draws = number if method == "importance" else CHAINS
        cost = (time.perf_counter() - began) / len(x)
        scored.append(({"method": method, "number": number, "seconds": cost}, draws, scores))
    return scored


def against(scores: helm.Scores, truth: np.ndarray, number: int) -> dict[str, Any]:
    """Errors of the estimates, how many intervals hold the truth, and what the diagnosis says."""
    table, row = scores.table, scores.summary.iloc[0]
    error = table.log_likelihood - truth
    quantile = student_t.ppf(0.975, max(number - 1, 1))  # a few chains give few degrees of freedom
    intervals = {
        name: float((error.abs() <= quantile * table[column] + 1e-5).mean())
        for name, column in (("inside", "stderr"), ("inside_bootstrap", "stderr_bootstrap"))
    }
    return {
        "error": error.mean(),
        "jackknife_error": (table.jackknife - truth).mean(),
        "stderr": float(table.stderr.pow(2).mean() ** 0.5),
        **intervals,
        "ess": row.ess,
        "khat": row.khat,
        "warned": bool(row.warnings),
    }


def calibration(table: pd.DataFrame) -> pd.DataFrame:
    """Share of intervals that hold the exact value, by method and by whether there was a warning."""
    kept = table[(table.half_width == 0) & (table.number > 1)]
    groups = kept.groupby(["method", "warned"])
    return groups.agg(
        runs=("inside", "size"), inside=("inside", "mean"), inside_bootstrap=("inside_bootstrap", "mean"),
        worst_error=("error", lambda error: error.abs().max()),
    ).reset_index()  # fmt: skip


def draw(table: pd.DataFrame) -> Figure:
    """Error against cost, coverage against samples, and error against what k-hat says."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    cost, coverage, khat = figure.subplots(1, 3)
    nets = list(dict.fromkeys(zip(table.dataset, table.sizes, strict=True)))
    colours = {net: f"C{number}" for number, net in enumerate(nets)}
    for (dataset, sizes, guide, method), run in table.groupby(["dataset", "sizes", "guide", "method"], sort=False):
        if guide == "trained":
            label = f"{dataset} {sizes}" if method == "importance" else None
            style = "o-" if method == "importance" else "s--"
            cost.plot(run.seconds, run.error.abs() + 1e-4, style, color=colours[dataset, sizes], label=label, ms=3)
    cost.set(xscale="log", yscale="log", xlabel="seconds per datum", ylabel="|mean error|, nats")
    cost.set_title("importance (solid), annealed (dashed)")
    figure.legend(*cost.get_legend_handles_labels(), loc="outside lower center", ncols=len(nets), fontsize=6)
    sampled = table[table.method == "importance"]
    known = sampled[sampled.half_width == 0]
    for warned, marker in ((False, "o"), (True, "x")):
        some = known[known.warned == warned]
        label = "with a warning" if warned else "without"
        coverage.plot(some.number * np.exp(0.1 * (some.guide == "untrained")), some.inside, f"C{int(warned)}{marker}",
                      label=label)  # fmt: skip
        bad = sampled[(sampled.warned == warned) & sampled.khat.notna()]
        khat.plot(bad.khat, bad.error.abs() + 1e-4, f"C{int(warned)}{marker}", label=label)
    coverage.axhspan(0.9, 0.98, color="0.9")
    coverage.set(xscale="log", xlabel="samples", ylabel="share of 95 % intervals that hold the truth")
    coverage.legend(fontsize=6)
    khat.axvline(khat_threshold(1000), color="0.8")
    khat.set(yscale="log", xlabel="median Pareto k-hat", ylabel="|mean error|, nats")
    khat.legend(fontsize=6)
    return figure


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    typer.run(main)
