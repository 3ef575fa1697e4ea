"""Set a machine to the intended solution of the shifter by hand and polish it: the best log-likelihood known.

    python -m analysis.paper.best_known --out results/paper

Each of sixteen units of the middle layer stands for a pixel and its copy, shifted left or right; each of the two top
units turns on those of one direction. Independent top units can't take turns, so that the machine stays below minus the
entropy of the data. It is trained on from there by reweighted wake-sleep, several times with noise in its weights.
Writes ``OUT/by_hand.safetensors`` and prints the log-likelihood of each.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import torch
import typer

import pyro_helm as helm
from analysis.paper.shifter_training import LEAK, Machine, judge, new_machine, polish

STRONG, WEAK = 20.0, 1e-3
"""Odds that a unit gives the pixels it stands for, and all the others."""


def by_hand(restarts: int, *, imaging: str = "odds", noise: float = 0.1, seed: int = 0) -> Machine:
    """A machine set to the intended solution, with normal noise of this size in its unconstrained weights."""
    model, guide = new_machine(restarts, seed, imaging)
    pixels, hidden, top = guide.sizes
    draws = torch.Generator().manual_seed(seed)
    down, up, ascent = torch.full((hidden, pixels), WEAK), torch.zeros(pixels, hidden), torch.zeros(hidden, top)
    descent = torch.full((top, hidden), WEAK)
    for direction, shift in enumerate((-1, 1)):
        for pixel in range(8):
            unit, copy = 8 * direction + pixel, (pixel + shift) % 8
            pair = [copy, 8 + copy, 16 + pixel, 24 + pixel]
            down[unit, pair], up[pair, unit] = STRONG, 3.0
            # on with probability 0.2 where its direction is
            descent[direction, unit] = 0.25 - LEAK
            ascent[unit] = -4.0
            ascent[unit, direction] = 4.0

    def noisy(values: torch.Tensor) -> torch.Tensor:
        return values + noise * torch.randn(restarts, *values.shape, generator=draws)

    with torch.no_grad():
        model.generative[0].weight_unconstrained.copy_(noisy(down.log()))
        model.generative[1].weight_unconstrained.copy_(noisy(descent.log()))
        model.generative[0].learned_leak_unconstrained.fill_(math.log(WEAK))
        model.generative[2].learned_leak_unconstrained.fill_(0.0)
        guide.recognition[0].weight.copy_(noisy(up))
        # units that stand for nothing are recognised as often as their leak turns them on
        guide.recognition[0].learned_leak.fill_(math.log(LEAK))
        guide.recognition[0].learned_leak[..., :16] = -10.0
        guide.recognition[1].weight.copy_(noisy(ascent))
        guide.recognition[1].learned_leak.zero_()
    return model, guide


def polished(data: helm.Data, *, quick: bool = False) -> Machine:
    """The machine set by hand, trained on."""
    machine = by_hand(2 if quick else 8)
    polish(machine, helm.ReweightedWakeSleep(10), data, epochs=1 if quick else 30, learning_rate=0.01)
    if not quick:
        polish(machine, helm.ReweightedWakeSleep(10), data, epochs=20, learning_rate=0.001, seed=1)
    return machine


def main(
    out: Annotated[Path, typer.Option(help="Folder for the machine.")] = Path("results/paper"),
    quick: Annotated[bool, typer.Option("--quick", help="A few steps.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Set, polish, save and print."""
    torch.set_num_threads(threads)
    data = helm.load_data("shifter")
    machine = polished(data, quick=quick)
    out.mkdir(parents=True, exist_ok=True)
    helm.save(out / "by_hand.safetensors", *machine)
    typer.echo(judge(machine, data, num_samples=20 if quick else 5000).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
