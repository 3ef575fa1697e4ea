"""A fixed prior of layer 2, and one from a layer above (Dayan, Hinton, Neal & Zemel 1995, section 5).

    python -m analysis.paper.prior_from_above --out results/paper

The call of ``solve_shifter.py`` beside machines of 32-24 odds units that take the same steps: with the prior of layer 2
fixed to the odds of a pair's being there, 1/9, and with learned biases to layer 2, a prior of independent units still.
Writes ``OUT/prior_from_above.csv``, a row per machine: log p (nats per pattern, 500 samples, exact distribution), and
whether each pair has a unit of its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.shifter_training import SIZES, Machine
from analysis.paper.solve_shifter import AGAIN, PAIRS, WHOLE, has_all_pairs, solve
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.atomic_files import atomic_path

PRIORS: dict[str, dict[str, Any] | None] = {
    "fixed": {"fixed_leak": (None, 1 / 9), "learned_leak": (True, False)},
    "learned biases": {"initial_leak": (None, 1 / 9)},
    "a layer above": None,
}


def trained(prior: str, stages: tuple[helm.Stage, ...], *, restarts: int, rows: int | None) -> Machine:
    """Machines of one kind of prior, after all stages; of two layers the first ones are trained like the last."""
    leaks = PRIORS[prior]
    if leaks is None:
        return solve(restarts=restarts, stages=stages, rows=rows)
    model = BeliefNetwork(SIZES[:2], "odds", restarts=restarts, seed=0, **leaks)
    guide = FactorialRecognition(SIZES[:2], initial_bias=-2.0, restarts=restarts, seed=0)
    whole = [replace(stage, layers=None) for stage in stages]
    helm.fit_in_stages(model, guide, helm.load_data("shifter").train[:rows], stages=whole, seed=0, progress=False)
    return model, guide


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines of each.")] = 4,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each stage.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, judge, write and print."""
    torch.set_num_threads(threads)
    stages: tuple[helm.Stage, ...] = (PAIRS, AGAIN, WHOLE)
    stages = tuple(replace(each, num_epochs=1) for each in stages) if quick else stages
    distribution = helm.load_data("shifter").distribution
    assert distribution is not None
    x, p = distribution.patterns, distribution.probabilities
    parts = []
    for prior in PRIORS:
        machine = trained(prior, stages, restarts=restarts, rows=200 if quick else None)
        scores = helm.log_likelihood(*machine, x, weights=p, num_samples=10 if quick else 500, seed=0).summary
        pairs = has_all_pairs(machine[0]).tolist()
        parts.append(scores[["restart", "log_likelihood", "stderr"]].assign(prior=prior, has_all_pairs=pairs))
    table = pd.concat(parts, ignore_index=True)
    with atomic_path(out / "prior_from_above.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    typer.echo(table.groupby("prior", sort=False)[["log_likelihood", "has_all_pairs"]].median().to_string())


if __name__ == "__main__":
    typer.run(main)
