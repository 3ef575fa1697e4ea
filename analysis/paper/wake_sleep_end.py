"""Where wake-sleep ends, and whether Q = P there (Dayan, Hinton, Neal & Zemel 1995, section 4).

    python -m analysis.paper.wake_sleep_end --out results/paper

The machines of 3-2-2 sigmoid units of ``wake_sleep_cost.py``, every state summed, after so many rounds of wake-sleep:
F, log p of the data, their difference KL(Q, P), and the largest change of a weight in a round, which says whether it
has ended. Beside them are the same initial values after as many steps down F itself, by theta and phi together. Writes
``OUT/wake_sleep_end.csv``, a row per rule, machine and round; all in nats per pattern.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor

from analysis.paper.wake_sleep_cost import DATA, Weights, cases, descend, free_energy, initial, log_joint, sleep_cost
from pyro_helm.runtime.atomic_files import atomic_path

ROUNDS = (100, 1000, 10_000, 30_000)
REACHED = 0.01
"""Nats within which Q is said to be P."""


def log_evidence(theta: Weights) -> Tensor:
    """Mean log p(d) of the patterns, ``[machines]``, nats."""
    joint: Tensor = log_joint(theta, cases(DATA)).unflatten(-1, (len(DATA), -1))
    return joint.logsumexp(-1).mean(-1)


def wake_sleep(theta: Weights, phi: Weights) -> None:
    """A round: the wake phase, then the sleep phase."""
    descend(free_energy(theta, phi), theta)
    descend(sleep_cost(theta, phi), phi)


def down_f(theta: Weights, phi: Weights) -> None:
    """A step down F by all weights."""
    descend(free_energy(theta, phi), [*theta, *phi])


RULES = {"wake-sleep": wake_sleep, "down F": down_f}


def measured(theta: Weights, phi: Weights, before: Weights) -> pd.DataFrame:
    """A row per machine; ``before`` are the weights a round ago."""
    with torch.no_grad():
        f, log_p = free_energy(theta, phi), log_evidence(theta)
        moves = [(new - old).abs().flatten(1).amax(-1) for new, old in zip([*theta, *phi], before, strict=True)]
    found = {"f": f, "log_likelihood": log_p, "divergence": f + log_p, "largest_change": torch.stack(moves).amax(0)}
    return pd.DataFrame({name: values.tolist() for name, values in found.items()}).rename_axis("machine").reset_index()


def run(machines: int, rounds: tuple[int, ...], seed: int = 0) -> pd.DataFrame:
    """Both rules from the same initial values, measured after these rounds."""
    parts = []
    for rule, step in RULES.items():
        theta, phi = initial(machines, seed)
        for done in range(1, rounds[-1] + 1):
            before = [weight.detach().clone() for weight in [*theta, *phi]] if done in rounds else []
            step(theta, phi)
            if done in rounds:
                parts.append(measured(theta, phi, before).assign(rule=rule, rounds=done))
    return pd.concat(parts, ignore_index=True)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per rule and number of rounds."""
    grouped = table.assign(reached=table.divergence < REACHED).groupby(["rule", "rounds"], sort=False)
    return grouped.agg(
        machines=("machine", "size"),
        reached=("reached", "sum"),
        divergence=("divergence", "median"),
        least=("divergence", "min"),
        most=("divergence", "max"),
        f=("f", "median"),
        f_best=("f", "min"),
        log_likelihood=("log_likelihood", "median"),
        largest_change=("largest_change", "median"),
    )


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    machines: Annotated[int, typer.Option(help="Initial values to begin from.")] = 64,
    quick: Annotated[bool, typer.Option("--quick", help="A few rounds.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Run both rules, write and print."""
    torch.set_num_threads(threads)
    table = run(4, (1, 3)) if quick else run(machines, ROUNDS)
    with atomic_path(out / "wake_sleep_end.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    typer.echo(summary(table).to_string(float_format="{:.4f}".format))


if __name__ == "__main__":
    typer.run(main)
