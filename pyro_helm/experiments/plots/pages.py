"""Pages to draw on to scale, in inches, and the writing of figures to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.runtime.figures import Drawing, axes_of, figure_of

WHOLE = (0.0, 0.0, 1.0, 1.0)
Array = NDArray[np.float64]
MARGIN, GAP, LINE, MIN_WIDTH, MAX_WIDTH = 0.3, 0.3, 0.19, 9.2, 12.4  # inches


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure at 150 dots per inch, whole or not at all; the same figure makes the same bytes."""
    path = Path(path)
    undated = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    with atomic_path(path) as temporary, mpl.rc_context({"svg.hashsalt": "pyro_helm"}):
        # the format is given by name, or else a path without a suffix would be written to another file
        form = path.suffix[1:] or "png"
        figure.savefig(temporary, format=form, dpi=150, metadata=undated.get(f".{form.lower()}"))


def page(ax: Axes | None) -> Axes:
    """Axes in inches and y downwards, so that all that is placed is to scale: those given, or a whole new figure."""
    if ax is None:
        ax = Drawing().add_axes(WHOLE)
    ax = axes_of(ax)
    ax.axis("off")
    return ax


def set_size(ax: Axes, width: float, height: float) -> Figure:
    """Cut the page to so many inches; on axes of a caller's, scale the drawing and its words to what room there is."""
    figure = figure_of(ax)
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    if ax.get_position().bounds == WHOLE:
        figure.set_size_inches(width, height)
        return figure
    ax.set_aspect("equal")
    room = ax.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    for text in ax.texts:
        text.set_fontsize(float(text.get_fontsize()) * min(1.0, room.width / width, room.height / height))
    return figure


def boxes(centres: Array, sides: Array) -> Any:
    """Corners ``[boxes, 4, 2]`` of upright boxes; matplotlib draws an array fast, but declares sequences alone."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return centres[:, None] + corners * sides[:, None]


def checked_shape(image_shape: tuple[int, int], units: int) -> tuple[int, int]:
    """Rows and columns of an image; ValueError unless it has so many pixels."""
    rows, columns = image_shape
    if rows < 1 or columns < 1 or rows * columns != units:
        raise ValueError(f"image_shape must have {units} pixels, one per visible unit, got {rows} x {columns}")
    return rows, columns
