"""The factorial vector quantiser of Hinton & Zemel 1994, which the Helmholtz machine generalises (section 5).

    python -m analysis.paper.vector_quantiser --out results/paper

Each half of a picture of 4 x 4 pixels shows one of four patterns, independently of the other, with 2 % of the pixels
flipped. Quantisers have one hidden layer, groups of units of which one is on, and a fixed prior under which all codes
are equally probable: two groups of four codes, which is what made the pictures; one group of sixteen, a code for each
pair of patterns; and one of eight, as many units as the factorial one has. They are trained by exact EM. Writes
``OUT/vector_quantiser.csv``, a row per quantiser: -log p(x) and F of the factorial recognition, a description length,
both exact, on 1,000 test pictures, in bits per picture, medians and lowest of the restarts; beside the entropy.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor

import pyro_helm as helm
from pyro_helm.runtime.atomic_files import atomic_path

HALF = torch.tensor(
    [
        [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0],
        [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
        [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0],
    ]
)
"""The four patterns of a half."""
FLIPPED = 0.02
QUANTISERS = {"two groups of four": (4, 4), "one group of sixteen": (16,), "one group of eight": (8,)}


def pictures(number: int, seed: int) -> Tensor:
    """Draws, ``[number, 16]``."""
    draws = torch.Generator().manual_seed(seed)
    halves = HALF[torch.randint(len(HALF), (number, 2), generator=draws)].flatten(1)
    return (halves != (torch.rand(halves.shape, generator=draws) < FLIPPED)).float()


def entropy() -> float:
    """Of a picture, bits: twice that of a half, whose 256 states are enumerated."""
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * HALF.shape[1]).double()
    flips = (states[:, None] - HALF.double()).abs().sum(-1)
    p = (FLIPPED**flips * (1 - FLIPPED) ** (HALF.shape[1] - flips)).mean(-1)
    return float(-2 * (p * p.log2()).sum())


def judged(name: str, restarts: int, epochs: int) -> dict[str, float | str | int]:
    """Train a quantiser with several restarts; its row."""
    groups = {"h1": QUANTISERS[name]}
    sizes = (2 * HALF.shape[1], sum(QUANTISERS[name]))
    model = helm.BeliefNetwork(
        sizes, ("sigmoid", "categorical"), groups=groups, learned_leak=(True, False), restarts=restarts, seed=0
    )
    guide = helm.FactorialRecognition(sizes, groups=groups, restarts=restarts, seed=0)
    settings = {"num_epochs": epochs, "learning_rate": 0.05, "schedule": "cosine"}
    helm.fit(model, guide, pictures(4000, 0), scheme=helm.ExactEM(), seed=0, progress=False, **settings)  # type: ignore[arg-type]
    found = helm.exact_posterior(model, guide, pictures(1000, 1))
    assert found.kl is not None
    bits = -found.log_likelihood.mean(-1) / math.log(2)
    length = bits + found.kl.mean(-1) / math.log(2)
    return {
        "quantiser": name,
        "units": sizes[1],
        "restarts": restarts,
        "bits_median": float(bits.median()),
        "bits_lowest": float(bits.min()),
        "description_length_median": float(length.median()),
        "description_length_lowest": float(length.min()),
        "entropy": entropy(),
    }


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines of each.")] = 16,
    quick: Annotated[bool, typer.Option("--quick", help="Two machines, one epoch.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, judge, write and print."""
    torch.set_num_threads(threads)
    table = pd.DataFrame([judged(name, 2 if quick else restarts, 1 if quick else 30) for name in QUANTISERS])
    with atomic_path(out / "vector_quantiser.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    typer.echo(table.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    typer.run(main)
