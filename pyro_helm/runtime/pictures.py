"""Small pictures of SVG for notebooks, drawn in a moment and without a figure library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart; their yellow is too pale for a line on white."""


def lines_svg(lines: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], caption: str) -> str:
    """Curves ``(x, y)`` by name on one scale, with the least and the largest value at the left."""
    finite = {name: (x[np.isfinite(y)], y[np.isfinite(y)]) for name, (x, y) in lines.items()}
    drawn = {name: line for name, line in finite.items() if len(line[0]) > 1}
    if not drawn:
        return ""
    xs, ys = (np.concatenate([line[axis] for line in drawn.values()]) for axis in (0, 1))
    low, high = float(ys.min()), float(ys.max())
    paths = []
    for order, (name, (x, y)) in enumerate(drawn.items()):
        across = 60 + 250 * (x - xs.min()) / (np.ptp(xs) or 1.0)
        down = 110 - 100 * (y - low) / ((high - low) or 1.0)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))
        colour = COLOURS[order % len(COLOURS)]
        paths.append(
            f'<polyline fill="none" stroke="{colour}" points="{points}"><title>{escape(name)}</title></polyline>'
        )
    words = "".join(
        f'<text x="{x}" y="{y}" font-size="10" text-anchor="{anchor}" fill="currentColor">{escape(text)}</text>'
        for x, y, anchor, text in ((54, 13, "end", f"{high:.2f}"), (54, 113, "end", f"{low:.2f}"),
                                   (60, 128, "start", caption))
    )  # fmt: skip
    return f'<svg width="330" height="134" role="img">{words}{"".join(paths)}</svg>'


def images_svg(images: Iterable[NDArray[np.float64]]) -> str:
    """Binary images ``[rows, columns]`` beside one another; what is above a half is dark."""
    drawn, left, height = [], 1, 0
    for image in images:
        rows, columns = image.shape
        dark = "".join(f"M{left + x} {1 + y}h1v1h-1z" for y, x in np.argwhere(image > 0.5))
        drawn.append(f'<rect x="{left - 0.5}" y="0.5" width="{columns + 1}" height="{rows + 1}" fill="white" '
                     f'stroke="#999" stroke-width="0.2"/><path d="{dark}" fill="black"/>')  # fmt: skip
        left, height = left + columns + 2, max(height, rows + 2)
    scale = min(6.0, 600 / max(left, 1))
    size = f'width="{left * scale:.0f}" height="{height * scale:.0f}"'
    return f'<svg {size} viewBox="0 0 {left} {height}" role="img" shape-rendering="crispEdges">{"".join(drawn)}</svg>'
