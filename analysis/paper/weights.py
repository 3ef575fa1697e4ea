"""Draw the weights of the best deterministic shifter machine (Fig. 4 of Dayan, Hinton, Neal & Zemel 1995).

    python -m analysis.paper.weights --out results/paper

The machine is the best of those that ``solutions.py`` has trained with the paper's loss and optimiser: deterministic,
conjugate gradient. That all 508 patterns take part, weighted by their probabilities, and that it began layer by layer
is ours; the paper says neither how many patterns there were nor how its machine began. Writes ``OUT/fig4_weights.png``
and prints what the caption of Fig. 4 says of such a machine, measured.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from matplotlib.figure import Figure
from torch import Tensor

import pyro_helm as helm
from analysis.paper.shifter_training import Machine, judge
from pyro_helm.data.shifter import SHIFTER_SHAPE
from pyro_helm.experiments import plots
from pyro_helm.experiments.plots.pages import LINE, MARGIN, set_size

MACHINE = "mean_field-conjugate_gradient.safetensors"
STRONG = 1.0
"""Odds from which on a cause is said to turn a pixel on."""
SILENT = 0.01
"""Mean activity below which a unit is said to be silent."""

CAPTION = (
    "Recognition and generative weights of the best of {restarts} deterministic machines trained by conjugate "
    "gradient, layer by layer first; under the stochastic rule it scores {log_likelihood:.3f} nats per pattern, "
    "and its top layer tells the direction of {direction:.1%} of the unambiguous patterns. Look at each hidden "
    "unit's right-hand block for what it turns on, in pairs of rows the shifted copy and the original: {tuned} of "
    "{hidden} units turn on one or two pairs of a pixel and its copy, {other} other sets of pixels, {silent} "
    "nothing. Look at the left-hand block for black side lobes, which odds, being positive, can't have: {lobes} "
    "of the {tuned} tuned units are inhibited by the pixels that would make up a pair of the opposite shift with "
    "one of their own, two columns away, and more than by the rest."
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


def figure_of(machine: Machine, restart: int, data: helm.Data, caption: str) -> Figure:
    """The weight diagram of one restart with a caption beneath."""
    figure = plots.weight_diagram(*machine, restart=restart, image_shape=data.image_shape)
    (ax,) = figure.axes
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, int(13.5 * width))
    ax.text(MARGIN, height, "\n".join(lines), fontsize=9, va="top")
    return set_size(ax, width, height + (len(lines) + 1) * LINE)


def draw(out: Path, *, quick: bool = False) -> Path:
    """Draw the best machine of ``OUT``; the path of the figure."""
    data = helm.load_data("shifter")
    machine = helm.load(out / MACHINE)
    judged = judge(machine, data, num_samples=10 if quick else 500)  # as in the table
    best = int(judged.log_likelihood.argmax())
    found = tuning(machine, best, data)
    caption = CAPTION.format(
        restarts=len(judged),
        log_likelihood=judged.log_likelihood[best],
        hidden=machine[0].sizes[1],
        direction=judged.accuracy[best],
        **vars(found),
    )
    typer.echo(caption)
    path = out / "fig4_weights.png"
    plots.save_figure(figure_of(machine, best, data, caption), path)
    return path


def main(
    out: Annotated[Path, typer.Option(help="Folder with the machines, and for the figure.")] = Path("results/paper"),
    quick: Annotated[bool, typer.Option("--quick", help="Few importance samples.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Draw the figure and print its path."""
    torch.set_num_threads(threads)
    typer.echo(draw(out, quick=quick))


if __name__ == "__main__":
    typer.run(main)
