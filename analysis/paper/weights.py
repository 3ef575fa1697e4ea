"""Draw the weights of the best deterministic shifter machine (Fig. 4 of Dayan, Hinton, Neal & Zemel 1995).

    python -m analysis.paper.weights --out results/paper

The machine is the best that ``many_iterations.py`` has found with the paper's loss and optimiser, and is kept beside
this file. Writes ``OUT/fig4_weights.png``, in the layout of the print, and prints what the caption of Fig. 4 says of
such a machine, measured, and what its two top units do (``top_layer.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import pyro_helm as helm
from analysis.paper.fig4_layout import figure_of
from analysis.paper.many_iterations import read_off_means
from analysis.paper.shifter_training import Machine, free_energies, judge
from analysis.paper.top_layer import on_by_leak, top_units
from pyro_helm.data.shifter import SHIFTER_SHAPE
from pyro_helm.experiments import plots
from pyro_helm.models import BeliefNetwork

MACHINE = Path(__file__).parent / "tables" / "fig4_machine.safetensors"
STRONG = 1.0
"""Odds from which on a cause is said to turn a pixel on."""
SILENT = 0.01
"""Mean activity below which a unit is said to be silent."""

CAPTION = (
    "The best deterministic machine found by conjugate gradient: its F is {f:.3f} nats per pattern, and its means tell "
    "the direction of {told:.1%} of the unambiguous patterns; under the stochastic rule its log p is "
    "{log_likelihood:.3f}. A block for each pair of layers, units of layer 2 in the same places throughout, and the "
    "largest magnitude of each array; white is positive, black negative. The lowest weights of the 2-3 and 3-2 blocks "
    "are the biases to layer 3; the generative biases to layer 2 are fixed. {tuned} of {hidden} units of layer 2 turn "
    "on one or two pairs of a pixel and its copy, {other} on something else, {silent} on nothing. {lobes} of the tuned "
    "ones are inhibited by the pixels, two columns away, that would make up a pair of the opposite shift with one of "
    "their own, and more than by the rest. By their learned biases alone the units of layer 3 are on with "
    "probabilities of {biases}."
)


@dataclass(frozen=True)
class Tuning:
    """What the middle layer of one restart stands for, as numbers of units.

    Args:
        silent: turning nothing on, or on with a mean probability below 1 %.
        tuned: not silent, and turning on one or two shifted pairs and nothing else.
        other: all the rest.
        lobes: of the tuned, those whose recognition weights are positive on their own pixels, on average, and negative
            on those of :func:`rivals`, and lower than on the rest.

    """

    silent: int
    tuned: int
    other: int
    lobes: int


def tuning(machine: Machine, restart: int, data: helm.Data) -> Tuning:
    """Sort the units of the middle layer by what they turn on."""
    assert data.distribution is not None
    model, guide = machine
    patterns, p = data.distribution.patterns, data.distribution.probabilities
    x = patterns.to(model.generative[0].weight)
    with torch.no_grad():
        activity = guide.mean_field({"x": x})[0].mean.reshape(model.restarts, len(x), -1)[restart]
        strong = model.generative[0].weight[restart] > STRONG
        silent = (p.to(activity) @ activity < SILENT) | ~strong.any(-1)
    # a unit is tuned if one pair, or the union of two, is just what it turns on
    pairs, rivalling = ((t[:, None] | t[None]).flatten(0, 1) for t in (shifted_pairs(), rivals()))
    matches = (strong[:, None] == pairs).all(-1)
    tuned = ~silent & matches.any(-1)
    rival = rivalling[matches.long().argmax(-1)] & ~strong
    weight = guide.recognition[0].weight[restart].detach().mT
    on_rivals, on_the_rest = _mean(weight, rival), _mean(weight, ~strong & ~rival)
    lobes = tuned & (_mean(weight, strong) > 0) & (on_rivals < 0) & (on_rivals < on_the_rest)
    return Tuning(int(silent.sum()), int(tuned.sum()), int((~silent & ~tuned).sum()), int(lobes.sum()))


def shifted_pairs() -> Tensor:
    """The pixels of every pixel and its copy, shifted left, then right: ``[pairs, units]``, booleans."""
    return torch.cat([_pairs(copy=shift, original=0) for shift in (-1, 1)])


def rivals() -> Tensor:
    """What would make up a pair of the opposite shift with one half of each of :func:`shifted_pairs`, likewise.

    Of a pixel i and its copy at i + s: the copy at i - s, and the original at i + 2s.
    """
    return torch.cat([_pairs(copy=-shift, original=2 * shift) for shift in (-1, 1)])


def _pairs(*, copy: int, original: int) -> Tensor:
    rows, columns = SHIFTER_SHAPE
    pixel = torch.eye(columns, dtype=torch.bool)
    halves = [pixel.roll(shift, 1).repeat(1, rows // 2) for shift in (copy, original)]
    return torch.cat(halves, 1)


def _mean(weight: Tensor, where: Tensor) -> Tensor:
    return (weight * where).sum(-1) / where.sum(-1).clamp(min=1)


def units_of_pairs(model: BeliefNetwork, pairs: Tensor | None = None) -> Tensor:
    """Whether a unit of layer 2 turns on a pair and nothing else, ``[restarts, units, pairs]``.

    ``pairs`` are masks of them, ``[pairs, units]``; None for :func:`shifted_pairs`.
    """
    strong = model.generative[0].weight.detach() > STRONG
    of_pair: Tensor = (strong[:, :, None] == (shifted_pairs() if pairs is None else pairs)).all(-1)
    return of_pair


def tuned_to(machine: Machine) -> dict[str, Tensor]:
    """Which units of layer 2 turn on one pair of the left or of the right shift and nothing else, ``[units]``."""
    left, right = units_of_pairs(machine[0])[0].split(SHIFTER_SHAPE[1], -1)
    return {"left": left.any(-1), "right": right.any(-1)}


def in_order(machine: Machine) -> Tensor:
    """The units of layer 2 by the pair that they turn on most, of the left shift first; silent ones last."""
    weight = machine[0].generative[0].weight.detach()[0]
    pairs = shifted_pairs().to(weight)
    best = (weight.log() @ (pairs - pairs.mean(-1, keepdim=True)).mT).argmax(-1)
    on = (weight > STRONG).any(-1)
    return torch.where(on, best, len(pairs)).argsort(stable=True)


def draw(out: Path, machine_file: Path = MACHINE, *, quick: bool = False) -> Path:
    """Draw the machine; the path of the figure."""
    data = helm.load_data("shifter")
    machine = helm.load(machine_file)
    effort = {"num_samples": 10, "draws": 10} if quick else {"num_samples": 500}  # as in the table
    judged = judge(machine, data, **effort)
    caption = CAPTION.format(
        f=float(free_energies(helm.MeanField(), machine, data.distribution)),
        told=read_off_means(machine[1], data)["told_by_means"][0],
        log_likelihood=judged.log_likelihood[0],
        hidden=machine[0].sizes[1],
        biases=" and ".join(f"{on:.2f}" for on in on_by_leak(machine[0]).tolist()),
        **vars(tuning(machine, 0, data)),
    )
    typer.echo(caption)
    for unit in top_units(machine, tuned_to(machine), data):
        typer.echo(unit)
    typer.echo(f"By 200 draws the top layer tells {judged.accuracy[0]:.1%} of the directions.")
    path = out / "fig4_weights.png"
    plots.save_figure(figure_of(machine, in_order(machine), caption), path)
    return path


def main(
    out: Annotated[Path, typer.Option(help="Folder for the figure.")] = Path("results/paper"),
    machine: Annotated[Path, typer.Option(help="Machine to draw, of one restart.")] = MACHINE,
    quick: Annotated[bool, typer.Option("--quick", help="Few importance samples.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Draw the figure and print its path."""
    torch.set_num_threads(threads)
    typer.echo(draw(out, machine, quick=quick))


if __name__ == "__main__":
    typer.run(main)
