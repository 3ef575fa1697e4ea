"""Figures without pyplot and its global state, and drawing on the axes of a caller."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, GridSpecBase
from numpy.typing import NDArray


class Drawing(Figure):
    """A figure that notebooks show, also where pyplot has not been imported."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


def axes_of(ax: Axes | None, size: tuple[float, float] = (6.4, 4.0)) -> Axes:
    """The axes that are given, or those of a new figure of so many inches.

    Raises:
        TypeError: for what is no matplotlib axes.

    """
    if ax is None:
        return Drawing(figsize=size, layout="constrained").subplots()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib axes, such as plt.subplots()[1], got {type(ax).__name__}")
    return ax


def figure_of(ax: Axes) -> Figure:
    """The whole figure that axes are a part of."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def panels_in(ax: Axes | None, lines: int, columns: int, size: tuple[float, float], **sharing: Any) -> NDArray[Any]:
    """A grid of axes ``[lines, columns]``: of a new figure of so many inches, or in the place of axes that are given.

    A single panel is the given axes themselves. Several divide their place, and they are hidden.

    Raises:
        TypeError: for what is no matplotlib axes.

    """
    if ax is None:
        figure = Drawing(figsize=size, layout="constrained")
        return np.asarray(figure.subplots(lines, columns, squeeze=False, **sharing))
    ax = axes_of(ax)
    if lines * columns == 1:
        return np.array([[ax]], dtype=object)
    ax.set_axis_off()
    place = ax.get_subplotspec()
    if place is None:  # axes that were put somewhere by hand
        box = ax.get_position()
        edges = {"left": box.x0, "right": box.x1, "bottom": box.y0, "top": box.y1}
        grid: GridSpecBase = GridSpec(lines, columns, figure=figure_of(ax), **edges)
    else:
        grid = place.subgridspec(lines, columns)
    return np.asarray(grid.subplots(squeeze=False, **sharing))
