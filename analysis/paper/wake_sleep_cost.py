"""Does anything fall along wake-sleep? F, and what the sleep phase lowers, after every phase on tiny machines.

    python -m analysis.paper.wake_sleep_cost --out results/paper

Sigmoid machines of 3-2-2 units on four patterns, with both phases in expectation (every state is summed), so that no
noise is mistaken for a rise: the wake phase is a small gradient step of theta on F, the sleep phase one of phi on
``KL(p(d, alpha) || q(alpha | d) p(d))``. Section 4 of Dayan, Hinton, Neal & Zemel 1995 says that no single cost
function is reduced by the two. Machines begin at random, or with the phi that Adam has found best for F at a
random theta. Writes ``OUT/wake_sleep_cost.csv``, a row per start and machine.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyro_helm.runtime.atomic_files import atomic_path

SIZES = (3, 2, 2)
DATA = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]], dtype=torch.float64)
RATE = 0.2
ROUNDING = 1e-12
"""Nats by which a value must change to be said to rise."""

Weights = list[Tensor]  # [machines, 1 + units before, units], the first row the bias


def binary_rows(units: int) -> Tensor:
    """Every binary vector, ``[2^units, units]``."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * units)


def log_layer(weight: Tensor, before: Tensor, s: Tensor) -> Tensor:
    """Log-probability of the units ``s`` given those before them, ``[machines, cases]``."""
    logit = before @ weight[:, 1:] + weight[:, :1]
    return (s * logsigmoid(logit) + (1 - s) * logsigmoid(-logit)).sum(-1)


def log_joint(theta: Weights, s: list[Tensor]) -> Tensor:
    """``log p(alpha) p(d | alpha)``, of layers ``s`` bottom to top."""
    above = [*s[1:], s[-1][:, :0]]
    return sum((log_layer(*terms) for terms in zip(theta, above, s, strict=True)), torch.zeros(()))


def log_recognition(phi: Weights, s: list[Tensor]) -> Tensor:
    """``log Q_alpha``."""
    return sum((log_layer(weight, *pair) for weight, pair in zip(phi, pairwise(s), strict=True)), torch.zeros(()))


def cases(x: Tensor) -> list[Tensor]:
    """Every explanation of every pattern, ``[patterns x explanations, units]`` by layer."""
    states = binary_rows(sum(SIZES[1:]))
    return [x.repeat_interleave(len(states), 0), *states.repeat(len(x), 1).split(SIZES[1:], -1)]


def free_energy(theta: Weights, phi: Weights) -> Tensor:
    """F in nats per pattern, ``[machines]``."""
    s = cases(DATA)
    log_q = log_recognition(phi, s)
    return (log_q.exp() * (log_q - log_joint(theta, s))).sum(-1) / len(DATA)


def sleep_cost(theta: Weights, phi: Weights) -> Tensor:
    """Mean over dreams of ``log p(alpha | d) - log Q_alpha``, ``[machines]``, nats."""
    s = cases(binary_rows(SIZES[0]))
    log_p: Tensor = log_joint(theta, s).unflatten(-1, (2 ** SIZES[0], -1))
    log_q: Tensor = log_recognition(phi, s).unflatten(-1, (2 ** SIZES[0], -1))
    total: Tensor = (log_p.exp() * (log_p.log_softmax(-1) - log_q)).sum((-2, -1))
    return total


def descend(cost: Tensor, weights: Weights) -> None:
    """One small step down the gradient of a cost, for every machine by itself."""
    gradients = torch.autograd.grad(cost.sum(), weights)
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight -= RATE * gradient


def initial(machines: int, seed: int) -> tuple[Weights, Weights]:
    """Standard normal weights and biases of the generative and of the recognition model."""
    draws = torch.Generator().manual_seed(seed)

    def normal(before: int, units: int) -> Tensor:
        weight: Tensor = torch.randn(machines, 1 + before, units, generator=draws).double()
        return weight.requires_grad_()

    theta = [normal(above, units) for units, above in zip(SIZES, (*SIZES[1:], 0), strict=True)]
    return theta, [normal(*pair) for pair in pairwise(SIZES)]


def run(machines: int, rounds: int, *, descent: int = 0, seed: int = 0) -> Tensor:
    """F and the sleep cost at the start, after wake and after sleep of every round, ``[rounds, 3, 2, machines]``.

    Before the first round come ``descent`` steps of Adam on F itself, by phi alone.
    """
    theta, phi = initial(machines, seed)
    adam = torch.optim.Adam(phi, lr=0.05)
    for _ in range(descent):
        adam.zero_grad()
        free_energy(theta, phi).sum().backward()
        adam.step()
    path = []

    def costs() -> Tensor:
        with torch.no_grad():
            return torch.stack([free_energy(theta, phi), sleep_cost(theta, phi)])

    for _ in range(rounds):
        start = costs()
        descend(free_energy(theta, phi), theta)
        awake = costs()
        descend(sleep_cost(theta, phi), phi)
        path.append(torch.stack([start, awake, costs()]))
    return torch.stack(path)


def table_of(path: Tensor) -> pd.DataFrame:
    """A row per machine: in what share of rounds each cost rises, in which phase, and where F ends above its least."""
    wake, sleep = path[:, 1] - path[:, 0], path[:, 2] - path[:, 1]
    both = wake + sleep
    f = path[:, 2, 0]

    def share(change: Tensor) -> Tensor:
        return (change > ROUNDING).double().mean(0)

    return pd.DataFrame(
        {
            "f_rises_in_wake": share(wake[:, 0]),
            "f_rises_in_sleep": share(sleep[:, 0]),
            "f_rises_in_a_round": share(both[:, 0]),
            "sleep_cost_rises_in_wake": share(wake[:, 1]),
            "sleep_cost_rises_in_sleep": share(sleep[:, 1]),
            "sleep_cost_rises_in_a_round": share(both[:, 1]),
            "sum_rises_in_a_round": share(both.sum(1)),
            "first_rise_of_f": (both[:, 0] > ROUNDING).double().argmax(0),
            "f_at_start": path[0, 0, 0],
            "f_at_least": f.amin(0),
            "f_at_end": f[-1],
        }
    ).rename_axis("machine")


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    machines: Annotated[int, typer.Option(help="Initial values to begin from.")] = 16,
    rounds: Annotated[int, typer.Option(help="Rounds of a wake and a sleep phase.")] = 30,
    quick: Annotated[bool, typer.Option("--quick", help="A few rounds.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Run, write, and print the means."""
    torch.set_num_threads(threads)
    tables = {}
    for start, descent in (("best phi", 20 if quick else 300), ("random", 0)):
        path_of_costs = run(4 if quick else machines, 20 if quick else rounds, descent=descent)
        tables[start] = table_of(path_of_costs)
    table = pd.concat(tables, names=["start"])
    with atomic_path(out / "wake_sleep_cost.csv") as path:
        table.to_csv(path, float_format="%.6g")
    typer.echo(table.groupby("start").mean().T.to_string(float_format="{:.4f}".format))
    typer.echo((table.f_rises_in_a_round > 0).groupby("start").sum().rename("machines on which F rises").to_string())


if __name__ == "__main__":
    typer.run(main)
