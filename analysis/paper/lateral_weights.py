"""Which connections a recognition network learns within a layer (Dayan, Hinton, Neal & Zemel 1995, section 5).

    python -m analysis.paper.lateral_weights --out results/paper

The paper proposes clusters of units with local excitation and inhibition over a longer range. ``LateralRecognition``
begins with such weights on a ring, of an amplitude of 0.1, or with none; here both are trained on the shifter as in
``recognition_gaps.py`` (32-12-2 sigmoid units, REINFORCE). Writes ``OUT/lateral_weights.csv``, a row per start and
machine, about the weights among the units of ``h1``: their size, how many are negative, of neighbours on the ring and
of units three or more places apart; and how they go with what the units have in common, the cosine of their weights
from the pixels (``with_overlap``, a rank correlation).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from scipy.stats import spearmanr
from torch import Tensor

import pyro_helm as helm
from pyro_helm.runtime.atomic_files import atomic_path

SIZES = (32, 12, 2)
AMPLITUDES = (0.1, 0.0)
FAR = 3


def of_pairs(square: Tensor) -> Tensor:
    """Of a matrix ``[units, units]``, the values of two different units, a row."""
    return square[~torch.eye(len(square), dtype=torch.bool)]


def places_apart(units: int) -> Tensor:
    """On a ring, ``[units, units]``."""
    place = torch.arange(units)
    distance = (place[:, None] - place).abs()
    return torch.minimum(distance, units - distance)


def described(lateral: Tensor, weight: Tensor) -> dict[str, float]:
    """What the lateral weights ``[units, units]`` of one machine are like; ``weight[pixels, units]`` is from below."""
    unit = torch.nn.functional.normalize(weight, dim=0)
    w, apart, overlap = of_pairs(lateral), of_pairs(places_apart(len(lateral))), of_pairs(unit.mT @ unit)
    return {
        "mean_size": float(w.abs().mean()),
        "negative": float((w < 0).double().mean()),
        "negative_near": float((w[apart == 1] < 0).double().mean()),
        "negative_far": float((w[apart >= FAR] < 0).double().mean()),
        "with_overlap": float(spearmanr(w, overlap).statistic),
    }


def trained(amplitude: float, *, restarts: int, epochs: int, rows: int | None) -> Any:
    """The recognition network after training."""
    model = helm.BeliefNetwork(SIZES, restarts=restarts, seed=0)
    guide = helm.LateralRecognition(SIZES, amplitude=amplitude, restarts=restarts, seed=0)
    settings: dict[str, Any] = {"num_epochs": epochs, "learning_rate": 0.01, "schedule": "cosine", "progress": False}
    helm.fit(model, guide, helm.load_data("shifter").train[:rows], scheme=helm.Reinforce(5), **settings)
    return guide


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines per start.")] = 8,
    epochs: Annotated[int, typer.Option(help="Epochs of 200 steps.")] = 30,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch of few patterns.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, describe, write and print."""
    torch.set_num_threads(threads)
    found = []
    for amplitude in AMPLITUDES:
        length: dict[str, Any] = {"epochs": 1, "rows": 200} if quick else {"epochs": epochs, "rows": None}
        guide = trained(amplitude, restarts=2 if quick else restarts, **length)
        each = zip(guide.lateral_weights()[0].detach(), guide.recognition[0].weight.detach(), strict=True)
        found += [
            {"amplitude": amplitude, "machine": number, **described(lateral, weight)}
            for number, (lateral, weight) in enumerate(each)
        ]
    table = pd.DataFrame(found)
    with atomic_path(out / "lateral_weights.csv") as path:
        table.to_csv(path, index=False, float_format="%.4g")
    shown = table.drop(columns="machine").groupby("amplitude", sort=False).agg(["mean", "min", "max"])
    typer.echo(shown.T.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    typer.run(main)
