"""Figures: learning curves, weights and dreams."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from pyro_helm.atomic import atomic_path
from pyro_helm.guides import FactorialRecognition
from pyro_helm.imaging import Imaging, Sigmoid
from pyro_helm.layers import site_names
from pyro_helm.models import BeliefNetwork

# Okabe and Ito's colours, told apart by colour-blind readers as well
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MAX_UNITS = 64
GREY = "0.6"
LABELS = {
    "train_bound": "the scheme's own bound on the training data",
    "valid_elbo": "validation bound -F",
    "valid_log_likelihood": "validation log-likelihood",
}
GAP = 1.3
"""Between tiles, in squares."""
MIN_COLUMNS = 12


def learning_curves(
    table: pd.DataFrame, *, metric: str = "valid_log_likelihood", ceilings: Mapping[str, float] | None = None
) -> Figure:
    """Draw a metric over epochs: one panel per data set and imaging model, one colour per scheme.

    Lines are medians over restarts, bands reach from the worst restart to the best.

    Args:
        table: tidy frame with the columns of :data:`pyro_helm.tables.COLUMNS`.
        metric: which metric, in nats per datum.
        ceilings: what no model can exceed, by data set: minus the entropy of an exact distribution.

    Raises:
        ValueError: if the table has no such metric.

    """
    rows = table[(table.metric == metric) & np.isfinite(table.value.astype(float))]
    if rows.empty:
        raise ValueError(f"the table has no finite values of {metric!r}; its metrics are {sorted(set(table.metric))}")
    panels = list(rows[["dataset", "imaging"]].drop_duplicates().itertuples(index=False, name=None))
    schemes = list(rows.scheme.drop_duplicates())
    figure = Figure(figsize=(max(4.6 * len(panels), 6.4), 4.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (dataset, imaging) in zip(axes, panels, strict=True):
        panel = rows[(rows.dataset == dataset) & (rows.imaging == imaging)]
        for scheme, group in panel.groupby("scheme", sort=False):
            over_restarts = group.groupby("epoch").value
            colour = COLOURS[schemes.index(scheme) % len(COLOURS)]
            median, low, high = over_restarts.median(), over_restarts.min(), over_restarts.max()
            ax.fill_between(median.index, low, high, color=colour, alpha=0.18, linewidth=0)
            ax.plot(median.index, median, color=colour, linewidth=2, label=f"{scheme} ({median.iloc[-1]:.2f})")
        ceiling = (ceilings or {}).get(dataset)
        if ceiling is not None:
            ax.axhline(ceiling, color="0.3", linestyle="--", linewidth=1, label=f"exact distribution ({ceiling:.2f})")
        same_data = rows[rows.dataset == dataset]
        # the first epochs are so much worse that they would leave no room for the rest
        late = same_data[same_data.epoch >= same_data.epoch.max() * 0.1].value
        top = max(late.max(), ceiling if ceiling is not None else -np.inf)
        margin = 0.05 * (top - late.min()) or 1.0
        ax.set_ylim(late.min() - margin, top + margin)
        ax.set_title(f"{dataset}, {imaging}")
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(loc="lower right", fontsize="small", title="last median, nats per datum", title_fontsize="small")
        ax.grid(alpha=0.25)
    axes[0].set_ylabel(f"{LABELS.get(metric, metric)}, nats per datum")
    figure.suptitle(
        "Median over restarts; bands from the worst restart to the best. Higher is better.", fontsize="medium"
    )
    return figure


def weight_diagram(
    model: BeliefNetwork,
    guide: FactorialRecognition,
    *,
    restart: int = 0,
    image_shape: tuple[int, int] | None = None,
) -> Figure:
    """Draw the weights of one restart in the manner of the paper's Fig. 4.

    White squares are positive, black ones negative, their area is the magnitude, and the largest magnitude of each
    block is quoted. Every unit of the first hidden layer has its recognition weights on the left and its generative
    ones on the right, laid out as the image is. Weights and leaks of noisy-or and odds layers, being positive, are
    shown as their logarithms.

    Args:
        model: generative model.
        guide: its recognition network.
        restart: which restart.
        image_shape: rows and columns of the image that the visible units make; one row if None.

    Raises:
        ValueError: for a restart that there is not, or an image of another size than the visible layer.

    """
    if not 0 <= restart < model.restarts:
        raise ValueError(f"restart must be from 0 to {model.restarts - 1}, got {restart}")
    rows, columns = image_shape or (1, model.sizes[0])
    if rows * columns != model.sizes[0]:
        raise ValueError(
            f"image_shape {(rows, columns)} has {rows * columns} pixels for {model.sizes[0]} visible units"
        )
    names = site_names(model.sizes)
    layers = list(zip(guide.recognition, model.generative, model.generative[1:], strict=False))
    strongest = _strongest(model.generative[0], restart)
    blocks = []
    for level, (up, down, above) in enumerate(layers):
        below, here = names[level], names[level + 1]
        recognition, generative = up.weight[restart].detach().mT, _shown(down, down.weight[restart])
        if level == 0:
            recognition, generative = (part[strongest].reshape(-1, rows, columns) for part in (recognition, generative))
            leak = _shown(down, down.leak[restart]).reshape(1, rows, columns)
            blocks.append((f"generative leak of {below}{_logarithm(down)}", leak))
        else:
            recognition, generative = recognition[None], generative[None]
        blocks.append((f"recognition weights, {below} to {here}", recognition))
        blocks.append((f"generative weights, {here} to {below}{_logarithm(down)}", generative))
        blocks.append((f"recognition bias of {here}", up.leak[restart].detach()[None]))
        blocks.append((f"generative leak of {here}{_logarithm(above)}", _shown(above, above.leak[restart])[None]))
    (leak_title, leak), receptive, projective, *rest = blocks
    figure = Figure(layout="constrained")
    per_row = min(len(strongest), max(1, round((2 * len(strongest) * rows / columns) ** 0.5)))
    tall = -(-len(strongest) // per_row) * (rows + GAP) / (per_row * (columns + GAP))
    figure.set_size_inches(13, 6.2 * tall + 4.2)
    upper, lower = figure.subfigures(2, 1, height_ratios=(6.2 * tall + 0.6, 3.6), squeeze=False)[:, 0]
    for ax, (title, tiles) in zip(upper.subplots(1, 2), (receptive, projective), strict=True):
        _hinton(ax, title, tiles, per_row, numbers=strongest.tolist())
    grid = lower.subplots(2, -(-(len(rest) + 1) // 2), squeeze=False).ravel()
    for ax in grid:
        ax.axis("off")
    for ax, (title, tiles) in zip(grid, [(leak_title, leak), *rest], strict=False):
        _hinton(ax, title, tiles, 1)
    shown = f", {len(strongest)} strongest of {model.sizes[1]} units of h1" if len(strongest) < model.sizes[1] else ""
    if all(isinstance(layer, Sigmoid) for layer in model.generative):
        logarithms = ""
    else:
        logarithms = " In a block of logarithms black is a weight below 1."
    figure.suptitle(
        f"White: positive. Black: negative. Area: magnitude.{logarithms} Restart {restart}{shown}.", fontsize=10
    )
    return figure


def dream_sheet(groups: Mapping[str, Tensor], *, image_shape: tuple[int, int], columns: int = 20) -> Figure:
    """Draw binary images in labelled blocks of rows, such as data above a model's dreams; ones are black.

    Args:
        groups: images ``[images, pixels]`` by label.
        image_shape: rows and columns of an image.
        columns: images per row.

    Raises:
        ValueError: for images of another size.

    """
    height, width = image_shape
    figure = Figure(layout="constrained")
    sheets = {}
    for label, images in groups.items():
        if images.shape[-1] != height * width:
            raise ValueError(f"image_shape {image_shape} has {height * width} pixels, but {label!r} {images.shape[-1]}")
        sheets[label] = _sheet(images.cpu().numpy().reshape(-1, height, width), columns)
    wide = next(iter(sheets.values())).shape[1]
    heights = [10 * sheet.shape[0] / wide + 0.35 for sheet in sheets.values()]
    figure.set_size_inches(10, sum(heights))
    axes = figure.subplots(len(sheets), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (label, sheet) in zip(axes, sheets.items(), strict=True):
        ax.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(label, loc="left", fontsize="medium")
        ax.axis("off")
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file, whole or not at all; the same figure makes the same bytes."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, metadata={"Software": None} if temporary.suffix == ".png" else None)


def _strongest(layer: Imaging, restart: int) -> Tensor:
    """Units of the layer above whose generative weights differ most over the image, at most MAX_UNITS, in order."""
    spread = _shown(layer, layer.weight[restart]).std(-1, correction=0)
    return torch.sort(spread.argsort(descending=True)[:MAX_UNITS])[0]


def _shown(layer: Imaging, drive: Tensor) -> Tensor:
    return drive.detach() if isinstance(layer, Sigmoid) else drive.detach().log()


def _logarithm(layer: Imaging) -> str:
    return "" if isinstance(layer, Sigmoid) else " (log)"


def _hinton(ax: Axes, title: str, tiles: Tensor, per_row: int, numbers: list[int] | None = None) -> None:
    """Draw tiles ``[tiles, rows, columns]`` as Hinton diagrams of one common scale."""
    values = tiles.double().cpu().numpy()
    count, rows, columns = values.shape
    largest = np.abs(values).max()
    band, place = np.divmod(np.arange(count), per_row)
    left, top = place * (columns + GAP), band * (rows + GAP)
    ax.add_collection(PolyCollection(_boxes(left, top, columns, rows), facecolors=GREY, linewidths=0))
    x = (left[:, None, None] + np.arange(columns) + 0.5) + np.zeros_like(values)
    y = (top[:, None, None] + np.arange(rows)[:, None] + 0.5) + np.zeros_like(values)
    side = 0.94 * np.sqrt(np.abs(values) / (largest or 1.0))
    squares = _boxes((x - side / 2).ravel(), (y - side / 2).ravel(), side.ravel(), side.ravel())
    colours = np.where(values.ravel() > 0, "white", "black")
    ax.add_collection(PolyCollection(squares, facecolors=list(colours), linewidths=0))
    for number, tile_left, tile_top in zip(numbers or [], left, top, strict=False):
        ax.text(tile_left, tile_top, str(number), fontsize=6, va="bottom", color="0.3")
    wide, high = (columns + GAP) * min(per_row, count) - GAP, (rows + GAP) * (band.max() + 1) - GAP
    # a block of a few squares stays as small as its neighbours' squares are
    margin = max(0.0, MIN_COLUMNS - wide) / 2
    ax.set_xlim(-margin, wide + margin)
    ax.set_ylim(high, -0.2)
    ax.set_aspect("equal")
    ax.set_title(f"{title}\nlargest magnitude {largest:.2f}", fontsize="small", pad=12)
    ax.axis("off")


def _boxes(left: Any, top: Any, width: Any, height: Any) -> list[NDArray[np.float64]]:
    """Corners of boxes, ``[4, 2]`` each."""
    left, top, width, height = np.broadcast_arrays(left, top, width, height)
    x = np.stack([left, left + width, left + width, left], -1)
    y = np.stack([top, top, top + height, top + height], -1)
    return list(np.stack([x, y], -1).astype(float))


def _sheet(images: NDArray[np.float64], columns: int) -> NDArray[np.float64]:
    """One picture of all images, ink 0 on paper 1, with thin frames between them."""
    count, height, width = images.shape
    columns = min(columns, count)
    bands = -(-count // columns)
    sheet = np.full((bands * (height + 1) + 1, columns * (width + 1) + 1), 0.75)
    for index, image in enumerate(images):
        band, column = divmod(index, columns)
        y, x = band * (height + 1) + 1, column * (width + 1) + 1
        sheet[y : y + height, x : x + width] = 1 - image
    return sheet
