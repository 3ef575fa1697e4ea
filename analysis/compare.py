"""Compare inference schemes and imaging models on the paper's shifter and on handwritten digits.

    python -m analysis.compare --out results

Three schemes x three imaging models on the shifter (Fig. 1 of Dayan et al. 1995), whose exact distribution says how
good a machine can get (-4.579 nats per case), and three schemes with sigmoid units on scikit-learn's digits. Prints one
table; writes tables, figures and machines to ``OUT/shifter`` and ``OUT/digits``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from torch.distributions import Bernoulli

import pyro_helm as helm
from pyro_helm.experiments.console import print_summary
from pyro_helm.experiments.report import write_report
from pyro_helm.experiments.scoring import cases_to_score


def main(
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and machines.")] = Path("results"),
    restarts: Annotated[int, typer.Option(help="Machines per scheme and imaging model.")] = 8,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each, to see that all works.")] = False,
    threads: Annotated[int, typer.Option(help="Processes that train at a time, one thread each.")] = 2,
) -> None:
    """Train, score, print and draw."""
    schemes = [helm.Reinforce(5), helm.WakeSleep(5), helm.ReweightedWakeSleep(5)]
    summaries, independent = [], []
    for name, hidden, imaging, epochs in (
        ("shifter", (24, 2), ("sigmoid", "noisy_or", "odds"), 20),
        ("digits", (32, 16), ("sigmoid",), 200),
    ):
        data = helm.load_data(name)
        if quick:
            data = replace(data, train=data.train[:300], valid=data.valid[:50], test=data.test[:50])
        comparison = helm.compare(
            data,
            schemes=schemes,
            sizes=(data.train.shape[1], *hidden),
            imaging=imaging,
            restarts=2 if quick else restarts,
            num_epochs=1 if quick else epochs,
            num_samples=10 if quick else 1000,
            step="eager" if quick else None,  # capturing takes longer than a few steps
            out=out / name,
            workers=threads,
        )
        write_report(comparison, data, out / name)
        independent.append(f"{name} {independent_pixels(data):.3f}")
        summaries.append(comparison.summary)
        if comparison.interrupted:
            break
    print_summary(pd.concat(summaries, ignore_index=True), interrupted=comparison.interrupted)
    typer.echo(f"for comparison, log p of independent pixels: {', '.join(independent)}")
    typer.echo(f"tables, figures and machines: {out}")
    typer.echo(f"report, for a browser: {helm.report(out)}")


def independent_pixels(data: helm.Data) -> float:
    """Log-likelihood of a factorised model with the training data's rates, nats per datum."""
    cases, weights = cases_to_score(data)
    rates = (data.train.sum(0) + 1) / (len(data.train) + 2)
    log_p = Bernoulli(rates).log_prob(cases).sum(-1)
    return float(log_p.mean() if weights is None else weights.to(log_p) @ log_p)


if __name__ == "__main__":
    typer.run(main)
