"""A partial E step still climbs -F (Neal & Hinton 1994, of whom Dayan, Hinton, Neal & Zemel 1995 speak at Fig. 2).

    python -m analysis.paper.partial_e_step --out results/paper

On the machine of Fig. 2, where the M step has a single theta, three E steps are compared: full (Q becomes the posterior
of every pattern), half (Q goes half of the way), and one pattern at a time. -F is measured after every step of either
kind, beside log p. Writes ``OUT/partial_e_step.csv``, a row per kind of E step.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor

from analysis.paper.free_energy_surface import START, WEIGHTS, best_theta, bound, log_joint, posterior
from pyro_helm.runtime.atomic_files import atomic_path

EStep = Callable[[Tensor, Tensor, int], Tensor]


def full(q: Tensor, p: Tensor, step: int) -> Tensor:
    """Q becomes the posterior."""
    return p


def half(q: Tensor, p: Tensor, step: int) -> Tensor:
    """Q goes half of the way to the posterior."""
    return (q + p) / 2


def one_pattern(q: Tensor, p: Tensor, step: int) -> Tensor:
    """Q of a single pattern becomes its posterior, of each in turn."""
    here = torch.arange(len(q))[:, None] == step % len(q)
    return torch.where(here, p, q)


def climb(e_step: EStep, steps: int) -> tuple[list[float], list[float]]:
    """-F after every E and every M step, and log p after every M step, nats per datum; Q is uniform at the start."""
    joint = log_joint(torch.tensor([START], dtype=torch.float64))[0]
    q = torch.full_like(joint, 1 / joint.shape[-1])
    heights, log_p = [float(bound(joint, q))], []
    for step in range(steps):
        q = e_step(q, posterior(joint), step)
        heights.append(float(bound(joint, q)))
        joint = log_joint(torch.tensor([best_theta(q)], dtype=torch.float64))[0]
        heights.append(float(bound(joint, q)))
        log_p.append(float(joint.logsumexp(-1) @ WEIGHTS))
    return heights, log_p


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    steps: Annotated[int, typer.Option(help="E steps, each with an M step after it.")] = 100,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Climb, write and print."""
    torch.set_num_threads(threads)
    rows = []
    for e_step in (full, half, one_pattern):
        heights, log_p = climb(e_step, 10 if quick else steps)
        near = [step for step, height in enumerate(heights[2::2], 1) if height > heights[-1] - 1e-4]
        rows.append(
            {
                "e_step": e_step.__name__,
                "least_change_of_bound": min(b - a for a, b in pairwise(heights)),
                "least_change_of_log_p": min(b - a for a, b in pairwise(log_p)),
                "steps_to_1e-4": near[0],
                "bound_at_end": heights[-1],
                "log_p_at_end": log_p[-1],
            }
        )
    table = pd.DataFrame(rows)
    with atomic_path(out / "partial_e_step.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    typer.echo(table.to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
