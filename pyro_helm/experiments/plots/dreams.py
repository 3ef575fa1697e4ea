"""Dream sheets: binary images in labelled blocks, such as a model's dreams below data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from torch import Tensor

from pyro_helm.data.named_observations import Values, named
from pyro_helm.experiments.plots.pages import GAP, LINE, MARGIN, MAX_WIDTH, boxes, checked_shape, page, set_size


def dream_sheet(
    groups: Mapping[str, Values], *, image_shape: tuple[int, int], columns: int = 10, ax: Axes | None = None
) -> Figure:
    """Draw images in labelled blocks of rows, such as a model's dreams below data; ones are black, zeros white.

    Where values lie below 0 or above 1, the least of all is white and the largest black.

    Args:
        groups: images ``[images, pixels]`` by label: tensors, arrays or DataFrames, of :func:`dreams` say.
        image_shape: rows and columns of an image.
        columns: images per row.
        ax: where to draw; None for a figure of its own.

    Raises:
        ValueError: if a group has no images, or images of another size, or columns is below 1.

    >>> model = BeliefNetwork((16, 8), seed=0)
    >>> dreams = model(num_data=20).detach()
    >>> figure = dream_sheet({"data": load_data("bars").test[:20], "dreams": dreams}, image_shape=(4, 4))
    """
    if not groups or columns < 1:
        raise ValueError(f"a sheet needs a group of images and a column or more, got {len(groups)} and {columns}")
    pictures = {label: _images(label, images) for label, images in groups.items()}
    for label, images in pictures.items():
        if images.dim() != 2 or not len(images):
            raise ValueError(f"images of {label!r} must be [images, pixels], one or more, got {list(images.shape)}")
        height, width = checked_shape(image_shape, images.shape[-1])
    low = min(0.0, *(float(images.nan_to_num(0.0).min()) for images in pictures.values()))
    high = max(1.0, *(float(images.nan_to_num(0.0).max()) for images in pictures.values()))
    gap = max(1, width // 8)
    cell = min(max(0.1, 0.5 / width), (MAX_WIDTH - 2 * MARGIN) / (columns * (width + gap)))
    ax = page(ax)
    top = MARGIN
    for label, images in pictures.items():
        band, column = np.divmod(np.arange(len(images)), columns)
        corners = np.stack([column * (width + gap), band * (height + gap)], -1)
        sheet = np.zeros((int(band[-1] + 1) * (height + gap), columns * (width + gap)))
        for image, (x, y) in zip(images.detach().cpu().numpy(), corners, strict=True):
            sheet[y : y + height, x : x + width] = image.reshape(height, width)
        ax.text(MARGIN, top, label, fontsize=10, weight="bold", va="center")
        top += LINE
        extent = (MARGIN, MARGIN + cell * sheet.shape[1], top + cell * sheet.shape[0], top)
        ax.imshow(sheet, cmap="gray_r", vmin=low, vmax=high, extent=extent, interpolation="nearest", label=label)
        centre = np.array([MARGIN + width * cell / 2, top + height * cell / 2])
        frames = boxes(corners * cell + centre, cell * np.array([[width, height]]))
        ax.add_collection(PolyCollection(frames, facecolors="none", edgecolors="0.6", linewidths=0.5))
        top += cell * sheet.shape[0] + GAP
    return set_size(ax, 2 * MARGIN + columns * (width + gap) * cell, top - GAP / 2)


def _images(label: str, images: Values) -> Tensor:
    return named(images, name=f"images of {label!r}")["x"]
