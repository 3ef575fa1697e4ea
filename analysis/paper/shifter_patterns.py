"""Draw the shifter patterns (Fig. 1 of Dayan, Hinton, Neal & Zemel 1995): what the machine is asked to explain.

    python -m analysis.paper.shifter_patterns --out results/paper

Patterns and their probabilities are those of ``helm.load_data("shifter").distribution``. Writes
``OUT/fig1_shifter.png``.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from torch import Tensor

import pyro_helm as helm
from pyro_helm.experiments import plots

CAPTION = (
    "The shifter: {num_patterns} patterns of {rows} x {columns} pixels. The bottom row is random, each pixel on "
    "(coloured here, white in the print) with probability {on:.2f}; the top row is its copy, shifted by one pixel with "
    "wrap-around, left or right with equal probability. The middle rows are copies of the outer ones: the second of "
    "the top row, the third of the bottom row. A column of the figure's upper two rows is one original under both "
    "shifts: the lines lead from each pixel to its copy, and only such pairs, no pixel by itself, tell the direction. "
    "{num_ambiguous} patterns are the same under either shift ({ambiguous:.1%} of all cases, the blank one "
    "{blank:.1%}); no model can exceed minus the entropy, {ceiling:.3f} nats per pattern."
)
# Okabe and Ito's colours, which colour-blind readers tell apart
COLOURS = {"left": "#0072B2", "right": "#D55E00", "ambiguous": "#555555"}
SHIFTS = {"left": (-1,), "right": (1,), "ambiguous": (-1, 1)}


def shift_of(patterns: Tensor, image_shape: tuple[int, int]) -> dict[str, Tensor]:
    """Which patterns are shifted left, right, or either way: a mask ``[patterns]`` for each of the three.

    Args:
        patterns: ``[patterns, units]``, the shifted row twice above the original twice.
        image_shape: rows and columns of a pattern.

    """
    rows = patterns.reshape(-1, *image_shape)
    left, right = ((rows[:, 0] == rows[:, -1].roll(shift, 1)).all(1) for shift in (-1, 1))
    return {"left": left & ~right, "right": right & ~left, "ambiguous": left & right}


def examples(
    distribution: helm.PatternDistribution, image_shape: tuple[int, int], num: int, seed: int
) -> dict[str, Tensor]:
    """Indices of patterns to show: originals of 1 to ``num`` pixels on under either shift, and every ambiguous pattern.

    Which original of so many pixels is drawn at random: all of them are equally probable.
    """
    rows = distribution.patterns.reshape(-1, *image_shape)
    shift = shift_of(distribution.patterns, image_shape)
    noise = np.random.default_rng(seed)
    candidates = [(shift["left"] & (rows[:, -1].sum(-1) == count)).nonzero()[:, 0] for count in range(1, num + 1)]
    left = torch.stack([some[noise.integers(len(some))] for some in candidates])
    same_original = (rows[left, -1][:, None] == rows[:, -1]).all(-1)
    ambiguous = shift["ambiguous"].nonzero()[:, 0]
    order = distribution.probabilities[ambiguous].argsort(descending=True, stable=True)
    return {
        "left": left,
        "right": (same_original & shift["right"]).long().argmax(1),
        "ambiguous": ambiguous[order],
    }


def figure_of(data: helm.Data, *, num: int = 6, seed: int = 0) -> Figure:
    """Draw ``num`` patterns of each shift and the ambiguous ones, titled by their probabilities p.

    Raises:
        ValueError: for data without an exact distribution or an image shape.

    """
    if data.distribution is None or data.image_shape is None:
        raise ValueError(f"the figure needs data with an exact distribution of images; {data.name!r} has none")
    shown = examples(data.distribution, data.image_shape, num, seed)
    figure = Figure(figsize=(11, 4.9), layout="constrained")
    grid = figure.subplots(len(shown), max(map(len, shown.values())), squeeze=False)
    for axes, (shift, indices) in zip(grid, shown.items(), strict=True):
        for ax in axes[len(indices) :]:
            ax.axis("off")
        for ax, index in zip(axes, indices, strict=False):
            pattern = data.distribution.patterns[index].reshape(data.image_shape)
            draw_pattern(ax, pattern, COLOURS[shift], SHIFTS[shift])
            ax.set_title(f"p = {float(data.distribution.probabilities[index]):.2g}", fontsize=9)
        label_halves(axes[0])
        title = "either shift\n(ambiguous)" if shift == "ambiguous" else f"shifted {shift}"
        axes[0].text(
            -0.75, 0.5, title, transform=axes[0].transAxes, color=COLOURS[shift], weight="bold", fontsize=11,
            ha="center", va="center", rotation=90,
        )  # fmt: skip
    figure.supxlabel(textwrap.fill(caption(data), 150), x=0.02, ha="left", fontsize=9.5)
    return figure


def draw_pattern(ax: Axes, pattern: Tensor, colour: str, shifts: tuple[int, ...]) -> None:
    """Draw one pattern ``[rows, columns]``, with a line from each original pixel to its copy for each of the shifts."""
    rows, columns = pattern.shape
    ax.imshow(pattern.numpy(), cmap=ListedColormap(["white", colour]), vmin=0, vmax=1)
    ax.set_xticks(np.arange(columns + 1) - 0.5, [])
    ax.set_yticks(np.arange(rows + 1) - 0.5, [])
    ax.grid(color="0.75", linewidth=0.6)
    ax.tick_params(length=0)
    ax.axhline((rows - 1) / 2, color="black", linewidth=1.4)
    halo = [withStroke(linewidth=3, foreground="white")]
    for pixel in pattern[-1].nonzero()[:, 0].tolist():
        for shift in shifts:
            # a copy that wraps around leaves on one side and comes in on the other
            for start in {pixel, (pixel + shift) % columns - shift}:
                ends = [start, start + shift], [rows / 2, rows / 2 - 1]
                ax.add_line(Line2D(*ends, color="black", linewidth=1.2, path_effects=halo))


def label_halves(ax: Axes) -> None:
    """Name the rows of the pattern at the left of it."""
    for row, name in enumerate(("shifted", "copy of top", "copy of bottom", "random")):
        height = 1 - (2 * row + 1) / 8
        ax.text(-0.03, height, name, transform=ax.transAxes, ha="right", va="center", fontsize=6.5)


def caption(data: helm.Data) -> str:
    """The caption, its numbers computed from the exact distribution."""
    assert data.distribution is not None
    assert data.image_shape is not None
    patterns, probabilities = data.distribution.patterns, data.distribution.probabilities
    ambiguous = shift_of(patterns, data.image_shape)["ambiguous"]
    rows, columns = data.image_shape
    return CAPTION.format(
        num_patterns=len(patterns),
        rows=rows,
        columns=columns,
        on=float((probabilities @ patterns.double()).mean()),
        num_ambiguous=int(ambiguous.sum()),
        ambiguous=float(probabilities[ambiguous].sum()),
        blank=float(probabilities[patterns.sum(1) == 0].sum()),
        ceiling=-data.distribution.entropy,
    )


def draw(out: Path, *, quick: bool = False) -> Path:
    """Write ``out/fig1_shifter.png``, with fewer patterns if quick, and return its path."""
    path = out / "fig1_shifter.png"
    plots.save_figure(figure_of(helm.load_data("shifter"), num=4 if quick else 6), path)
    return path


def main(
    out: Annotated[Path, typer.Option(help="Folder for the figure.")] = Path("results/paper"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer patterns.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Draw the figure and print its path."""
    torch.set_num_threads(threads)
    typer.echo(draw(out, quick=quick))


if __name__ == "__main__":
    typer.run(main)
