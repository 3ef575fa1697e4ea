"""Recognition without iteration beside Monte Carlo, error and cost (Dayan, Hinton, Neal & Zemel 1995, section 5).

    python -m analysis.paper.recognition_cost --out results/paper

The odds machines of 16-8-3 units of ``factorial_posteriors.py``, trained on bars. For 100 patterns the probability that
each hidden unit is on is told by one pass of means up the recognition network (3.10), by 100 draws of it, by the same
draws with importance weights, and by 100 Gibbs chains (Neal 1992) from the prior, after 1 to 10 sweeps. Writes
``OUT/recognition_cost.csv``, a row per method: the mean absolute error against the exact posterior, over all hidden
units and over layer 3 alone; that of layer 3 against the exact means of Q itself, from which 3.10 differs by the
correlations that it ignores (section 3); and milliseconds for all patterns and machines, the median of five.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor

import pyro_helm as helm
from analysis.paper.factorial_posteriors import SIZES, binary_rows, trained
from analysis.paper.shifter_training import Machine
from pyro_helm.guides import FactorialRecognition
from pyro_helm.latents.gibbs_moves import sweep
from pyro_helm.programs.particles import draw_from_guide, draw_from_prior
from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.schemes.states_of_data import latent_states

SWEEPS = (1, 3, 10)


def means(machine: Machine, x: Tensor) -> Tensor:
    """By 3.10, ``[restarts, data, hidden units]``."""
    guide = machine[1]
    layers = guide.mean_field({"x": x})
    return torch.cat([layer.mean.reshape(guide.restarts, len(x), -1) for layer in layers], -1)


def means_of_q(guide: FactorialRecognition, x: Tensor) -> Tensor:
    """Exact means of Q, likewise: those of layer 3 summed over every state of layer 2."""
    lower, upper = guide.recognition
    on = torch.sigmoid(x @ lower.weight + lower.leak)
    states = binary_rows(SIZES[1]).to(x)
    probability = torch.where(states[:, None, None] == 1, on, 1 - on).prod(-1)  # [states, restarts, data]
    given = torch.sigmoid(states @ upper.weight + upper.leak)  # [restarts, states, units]
    return torch.cat([on, torch.einsum("srd,rsu->rdu", probability, given)], -1)


def exact_means(machine: Machine, x: Tensor) -> Tensor:
    """Of the posterior, likewise, by enumeration."""
    return bottom_up(helm.exact_posterior(*machine, x).marginals)


def bottom_up(states: Mapping[str, Tensor]) -> Tensor:
    """The units of layers 2 and 3 side by side; a trace of the model has them from the top down."""
    return torch.cat([states["h1"], states["h2"]], -1)


def draws(machine: Machine, x: Tensor, number: int = 100, *, weighted: bool = False) -> Tensor:
    """Means of draws from Q, likewise, with importance weights or without."""
    particles = draw_from_guide(*machine, number, kwargs={"observations": {"x": x}})
    states = bottom_up(latent_states(particles, number))
    return (particles.log_weight.softmax(0)[..., None] * states).sum(0) if weighted else states.mean(0)


def chains(machine: Machine, x: Tensor, sweeps: int, number: int = 100) -> Tensor:
    """Means of Gibbs chains after so many sweeps, likewise."""
    kwargs = {"observations": {"x": x}}
    states = latent_states(draw_from_prior(machine[0], number, kwargs=kwargs), number)
    for _ in range(sweeps):
        states = sweep(machine[0], states, {}, (), kwargs, block_size=1)
    return bottom_up(states).mean(0)


METHODS: dict[str, Callable[[Machine, Tensor], Tensor]] = {
    "means, one pass": means,
    "100 draws of Q": draws,
    "100 draws of Q, weighted": partial(draws, weighted=True),
    **{f"100 chains, {number} sweeps": partial(chains, sweeps=number) for number in SWEEPS},
}


def measured(machine: Machine, x: Tensor, repeats: int) -> pd.DataFrame:
    """A row per method."""
    exact, of_q = exact_means(machine, x), means_of_q(machine[1], x)
    rows = []
    for name, method in METHODS.items():
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            found = method(machine, x)
            seconds.append(time.perf_counter() - began)
        error, from_q = (found - exact).abs(), (found - of_q).abs()
        rows.append(
            {
                "method": name,
                "error": float(error.mean()),
                "error_of_layer_3": float(error[..., SIZES[1] :].mean()),
                "layer_3_from_q": float(from_q[..., SIZES[1] :].mean()),
                "milliseconds": 1000 * torch.tensor(seconds).median().item(),
            }
        )
    return pd.DataFrame(rows)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines.")] = 4,
    epochs: Annotated[int, typer.Option(help="Epochs of training.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch, few patterns.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, infer, write and print."""
    torch.set_num_threads(threads)
    data = helm.load_data("bars")
    machine = trained("odds", data, restarts=restarts, epochs=1 if quick else epochs)
    torch.manual_seed(0)
    with torch.no_grad():
        table = measured(machine, data.test[: 10 if quick else 100].double(), 1 if quick else 5)
    with atomic_path(out / "recognition_cost.csv") as path:
        table.to_csv(path, index=False, float_format="%.4g")
    typer.echo(table.to_string(index=False, float_format="{:.4f}".format))


if __name__ == "__main__":
    typer.run(main)
