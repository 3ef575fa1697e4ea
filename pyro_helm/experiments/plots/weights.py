"""Weight diagrams: what each unit has learned, as Hinton diagrams in the manner of the paper's Fig. 4."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from pyro_helm.experiments.plots.pages import (
    GAP,
    LINE,
    MARGIN,
    MAX_WIDTH,
    MIN_WIDTH,
    Array,
    boxes,
    checked_shape,
    page,
    set_size,
)
from pyro_helm.guides import FactorialRecognition
from pyro_helm.guides.bottom_up import BottomUp
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.layered import site_names

MAX_UNITS = 64
LOG_OF = {"noisy_or": "natural log of rate, ", "odds": "natural log of odds, "}
"""Imaging models whose weights are positive, and are shown as logarithms."""
OTHERS = "Weights between layers that are no neighbours, and those from a label, are not drawn."
KEY = "White squares are positive, black ones negative; area is magnitude, on a scale of each block's own."


def weight_diagram(
    model: BeliefNetwork,
    guide: FactorialRecognition,
    *,
    restart: int = 0,
    image_shape: tuple[int, int] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the weights of one restart as Hinton diagrams, in the manner of Fig. 4 of Dayan et al. 1995.

    White squares are positive, black ones negative; their areas are proportional to the magnitudes within a block,
    whose largest is quoted. Units of the first hidden layer have their recognition weights beside their generative
    ones, as images; higher layers are matrices; biases are at the right. Generative weights and biases of noisy-or and
    odds layers are shown as natural logarithms: white above 1, black below. Of a layer of more than 64 units, the 64
    with the strongest generative weights are shown. Weights of skip connections and from a label are left out; so are
    lateral ones.

    Args:
        model: generative model.
        guide: its recognition network.
        restart: which restart.
        image_shape: rows and columns of the image that the visible units make; one row if None.
        ax: where to draw; None for a figure of its own.

    Raises:
        TypeError: for user-defined programs.
        ValueError: for a restart that there is not, a guide of other sizes than the model or with a network of its own
            below its lowest layer, or an image of another size than the visible layer.

    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> figure = weight_diagram(model, guide, image_shape=(4, 4))
    """
    _check_drawable(model, guide, restart)
    shape = checked_shape(image_shape or (1, model.sizes[0]), model.sizes[0])
    below = zip(model.generative[:-1], model.sizes[1:], strict=True)
    kept = [np.arange(model.sizes[0]), *(_strongest(layer.weight[restart][:units]) for layer, units in below)]
    few = ", ".join(
        f"{MAX_UNITS} of the {n} in h{level}" for level, n in enumerate(model.sizes) if level and n > MAX_UNITS
    )
    logs = (
        "" if LOG_OF.keys().isdisjoint(model.imaging) else "Of logarithms, white is a weight above 1, black one below."
    )
    ax = page(ax)
    ax.text(MARGIN, MARGIN, f"Weights of restart {restart}", fontsize=11, weight="bold", va="center")
    others = "" if model.is_chain and guide.condition is None else OTHERS
    lines = [KEY, logs, others, few and f"Shown are the units with the strongest generative weights: {few}."]
    notes = [line for line in lines if line]
    for number, note in enumerate(notes, 1):
        ax.text(MARGIN, MARGIN + number * LINE, note, fontsize=9, va="center")
    halves = _halves(model, guide, 0, restart, kept)
    right, bottom, cell = _draw_level(ax, MARGIN + (len(notes) + 1.4) * LINE, halves, kept[1], shape)
    for level in range(1, len(kept) - 1):
        halves = _halves(model, guide, level, restart, kept)
        wide, bottom, _ = _draw_level(ax, bottom, halves, None, (len(kept[level + 1]), len(kept[level])))
        right = max(right, wide)
    fixed, rule = model.fixed_leak[0], model.imaging[0]
    parts = ["learned"] * model.learned_leak[0] + ([] if fixed is None else [f"fixed {fixed:g}"])
    leak = _shown(rule, model.generative[0].leak[restart]).reshape(1, *shape)
    largest = _hinton(ax, leak, np.array([[MARGIN, bottom + LINE]]), cell, "generative leak of x")
    text = f"Generative leak of x ({' + '.join(parts) or 'none'}): {LOG_OF.get(rule, '')}largest {largest:.3g}"
    ax.text(MARGIN, bottom, text, fontsize=9, va="center")
    return set_size(ax, max(MIN_WIDTH, right + MARGIN), bottom + LINE + shape[0] * cell + MARGIN)


def _check_drawable(model: BeliefNetwork, guide: FactorialRecognition, restart: int) -> None:
    """Refuse programs without layers of weights, networks that do not match, and a restart that there is not."""
    for wanted, program in ((BeliefNetwork, model), (BottomUp, guide)):
        if not isinstance(program, wanted):
            raise TypeError(
                "weight_diagram draws a BeliefNetwork and its FactorialRecognition, got a "
                f"{type(program).__name__}; code_map and reconstruction_sheet take any pair of programs"
            )
    if tuple(guide.sizes) != tuple(model.sizes):
        raise ValueError(f"model and guide must have the same sizes, got {model.sizes} and {guide.sizes}")
    if guide.trunk is not None:
        raise ValueError(
            "the guide sees the data through a network of its own, so that its weights are no images of them"
        )
    last = min(model.restarts, guide.restarts) - 1
    if not 0 <= restart <= last:
        raise ValueError(f"restart must be from 0 to {last}, got {restart}")


def _halves(
    model: BeliefNetwork, guide: FactorialRecognition, level: int, restart: int, kept: list[NDArray[np.int64]]
) -> list[tuple[str, str, Array, Array]]:
    """Title, unit, weights ``[above, below]`` and biases ``[above]`` of recognition, then generation, at a level."""
    up, down, above = guide.recognition[level], model.generative[level], model.generative[level + 1]
    below, here = site_names(model.sizes)[level : level + 2]
    rule, rule_above = model.imaging[level : level + 2]
    ours = np.ix_(kept[level + 1], kept[level])
    # weights from layers further above and from a label stand behind those of the next layer
    next_above, seen = slice(model.sizes[level + 1]), slice(model.sizes[level])
    recognition = _shown("sigmoid", up.weight[restart][seen].mT)[ours], _shown("sigmoid", up.leak[restart, 0])
    generative = _shown(rule, down.weight[restart][next_above])[ours], _shown(rule_above, above.leak[restart, 0])
    return [
        (f"recognition weights, {below} to {here}", "", recognition[0], recognition[1][kept[level + 1]]),
        (f"generative weights, {here} to {below}", LOG_OF.get(rule, ""), generative[0], generative[1][kept[level + 1]]),
    ]


def _draw_level(
    ax: Axes,
    top: float,
    halves: list[tuple[str, str, Array, Array]],
    units: NDArray[np.int64] | None,
    shape: tuple[int, int],
) -> tuple[float, float, float]:
    """Draw two images of each unit, or two matrices without units; return right, bottom and a square's side, inches."""
    rows, columns = shape
    number = 1 if units is None else len(units)

    # about three quarters as high as wide, squares of 0.13 inches or what the page has room for
    per_row = max(1, min(number, 12, round((1.3 * number * (rows + 2) / (2 * columns + 7)) ** 0.5)))
    cell = min(max(0.13, 0.5 / columns), ((MAX_WIDTH - 2 * MARGIN) / per_row - GAP) / (2 * columns + 5))
    pair = np.array([(2 * columns + 5) * cell + GAP, rows * cell + 0.25])
    band, column = np.divmod(np.arange(number), per_row)
    corners = np.stack([column, band], -1) * pair + np.array([MARGIN, top + (2 if units is None else 2.8) * LINE])
    for side, (title, unit, weights, biases) in enumerate(halves):
        here = corners + np.array([side * (columns + 3) * cell, 0.0])
        beside = here + np.array([(columns + 0.5) * cell, 0.0])
        largest = _hinton(ax, weights.reshape(number, rows, columns), here, cell, title)
        largest_bias = _hinton(ax, biases.reshape(number, -1, 1), beside, cell, f"{title}, bias")
        text = f"{('Left', 'Right')[side]}: {title}: {unit}largest {largest:.3g}. "
        text += f"At its right: biases, largest {largest_bias:.3g}." + (
            " A row per upper unit." if units is None else ""
        )
        ax.text(MARGIN, top + side * LINE, text, fontsize=9, va="center")
    for unit_number, (x, y) in zip([] if units is None else units, corners, strict=False):
        ax.text(x, y - 0.03, f"h1 unit {unit_number}", fontsize=7, color="0.3", va="bottom")
    right, bottom = corners.max(0) + pair
    return right - GAP, bottom + LINE, cell


def _hinton(ax: Axes, tiles: Array, corners: Array, cell: float, label: str) -> float:
    """Draw ``tiles [tiles, rows, columns]`` at ``corners [tiles, 2]`` on one scale; return the largest magnitude."""
    size = np.array(tiles.shape[:0:-1], dtype=float)
    largest = float(np.abs(tiles).max())
    places = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1).reshape(-1, 2) + 0.5
    centres = (corners[:, None] + cell * places).reshape(-1, 2)
    sides = 0.94 * cell * np.sqrt(np.abs(tiles) / (largest or 1.0)).reshape(-1, 1)
    colours = np.repeat(tiles.reshape(-1, 1) > 0, 3, axis=1).astype(float)
    # a rim of grey, or else a large white square would be lost on the paper
    ground = boxes(corners + cell * size / 2, cell * (size[None] + 0.3))
    ax.add_collection(PolyCollection(ground, facecolors="0.6", linewidths=0))
    # one artist for all squares, as 64 images of 784 pixels would be 50,000 patches; unsnapped, so that areas are true
    ax.add_collection(PolyCollection(boxes(centres, sides), facecolors=colours, linewidths=0, snap=False, label=label))
    return largest


def _strongest(weight: Tensor) -> NDArray[np.int64]:
    """Units above of the largest total magnitude of ``weight [above, below]``, at most MAX_UNITS, in order."""
    order = weight.detach().abs().sum(-1).argsort(descending=True)
    return np.sort(order[:MAX_UNITS].cpu().numpy())


def _shown(imaging: str, drive: Tensor) -> Array:
    """Weights or leaks of a noisy-or or odds layer as natural logarithms, of others as they are."""
    values = np.asarray(drive.detach().double().cpu().numpy())
    if imaging not in LOG_OF:
        return values
    # what has underflowed to zero has no logarithm and is drawn as the least that has
    return np.asarray(np.log(np.maximum(values, np.min(values, where=values > 0, initial=1.0))))
