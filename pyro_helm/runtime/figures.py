"""Figures without pyplot and its global state, and drawing on the axes of a caller."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure


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
