"""The layout of Fig. 4 of Dayan, Hinton, Neal & Zemel 1995, as its caption tells it.

A block of weights between each two layers, recognition at the left and generation at the right, with the largest
magnitude of each array; white is positive, black negative, and generative weights are natural logarithms. The biases to
layer 3 are the lowest weights of the 2-3 block; those to layer 2 are apart. Sizes of squares, the order of the units,
and the place of a unit of layer 2 in the 2-3 block, which is that of its own weights, are ours.
"""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from torch import Tensor

from analysis.paper.shifter_training import Machine
from pyro_helm.data.shifter import SHIFTER_SHAPE
from pyro_helm.experiments.plots.pages import GAP, LINE, MARGIN, Array, boxes, page, set_size

PIXEL, UNIT = 0.1, 0.22  # inches
PER_ROW = 4
"""Units of layer 2 side by side."""
Tile = tuple[Array, tuple[float, float]]
"""Weights ``[rows, columns]`` and the corner, left and upper, where they are drawn."""


def figure_of(machine: Machine, order: Tensor, caption: str) -> Figure:
    """Draw the machine, its units of layer 2 in this order, with a caption beneath."""
    model, guide = machine
    ours = order.tolist()
    down = [np.log(_array(layer.weight)) for layer in model.generative[:2]]
    leaks = [np.log(_array(layer.leak)[0]) for layer in model.generative]
    up = [_array(layer.weight).T for layer in guide.recognition]
    biases = [_array(layer.leak)[0] for layer in guide.recognition]
    ax = page(None)
    right = 0.0
    for side, (title, weights, to_2, to_3) in enumerate(
        [
            ("Recognition", up, biases[0], biases[1]),
            ("Generative (natural logarithms)", down, leaks[1], leaks[2]),
        ]
    ):
        x = MARGIN + side * (right + GAP)
        ax.text(x, MARGIN, title, fontsize=11, weight="bold", va="center")
        top = MARGIN + 1.8 * LINE
        of_pixels = _grid(weights[0][ours].reshape(-1, *SHIFTER_SHAPE), x, top)
        edge, bottom = _block(ax, "1-2" if side == 0 else "2-1", of_pixels, PIXEL)
        right = right or edge - MARGIN
        lower = bottom + 2 * LINE
        width = PER_ROW * UNIT + GAP
        above = [_as_layer_2(unit[ours]) for unit in weights[1]]
        tall = len(above[0]) * UNIT + 0.1
        of_units = [(unit, (x + number * width, lower)) for number, unit in enumerate(above)]
        of_units += [(np.array([[bias]]), (x + number * width, lower + tall)) for number, bias in enumerate(to_3)]
        _block(ax, "2-3" if side == 0 else "3-2", of_units, UNIT)
        apart = [(_as_layer_2(to_2[ours]), (x + len(above) * width + GAP, lower))]
        _, bottom = _block(ax, "biases to 2", apart, UNIT)
    lower = bottom + UNIT + 3 * LINE
    _, bottom = _block(ax, "generative biases to 1", [(leaks[0].reshape(SHIFTER_SHAPE), (MARGIN, lower))], PIXEL)
    page_width = 2 * right + GAP + 2 * MARGIN
    lines = textwrap.wrap(caption, int(13.5 * page_width))
    ax.text(MARGIN, bottom + 2 * LINE, "\n".join(lines), fontsize=9, va="top")
    return set_size(ax, page_width, bottom + (len(lines) + 3) * LINE)


def _array(parameter: Tensor) -> Array:
    """Of the only restart."""
    return np.asarray(parameter.detach()[0].double().numpy())


def _as_layer_2(values: Array) -> Array:
    return values.reshape(-1, PER_ROW)


def _grid(tiles: Array, x: float, y: float) -> list[Tile]:
    """Images of units, ``PER_ROW`` in a row."""
    rows, columns = tiles.shape[1:]
    step = (columns * PIXEL + 0.12, rows * PIXEL + 0.12)
    return [
        (tile, (x + number % PER_ROW * step[0], y + number // PER_ROW * step[1])) for number, tile in enumerate(tiles)
    ]


def _block(ax: Axes, name: str, tiles: list[Tile], cell: float) -> tuple[float, float]:
    """Draw tiles on one scale, with the largest magnitude above; the block's right edge and its bottom."""
    largest = max(float(np.abs(values).max()) for values, _ in tiles)
    x, y = tiles[0][1]
    ax.text(x, y - 0.6 * LINE, f"{name}: {largest:.3g}", fontsize=9, va="center")
    right = bottom = 0.0
    for values, corner in tiles:
        size = np.array(values.shape[::-1], dtype=float)
        places = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1).reshape(-1, 2) + 0.5
        sides = 0.94 * cell * np.sqrt(np.abs(values) / largest).reshape(-1, 1)
        colours = np.repeat(values.reshape(-1, 1) > 0, 3, axis=1).astype(float)
        ground = boxes(np.array([corner]) + cell * size / 2, cell * size[None] + 0.02)
        ax.add_collection(PolyCollection(ground, facecolors="0.6", linewidths=0))
        squares = boxes(np.array(corner) + cell * places, sides)
        ax.add_collection(PolyCollection(squares, facecolors=colours, linewidths=0, snap=False, label=name))
        right, bottom = max(right, corner[0] + cell * size[0]), max(bottom, corner[1] + cell * size[1])
    return right, bottom
