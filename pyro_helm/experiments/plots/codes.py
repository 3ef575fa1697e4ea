"""Hidden codes in two dimensions: whether recognition keeps apart what bears another label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike
from torch import Tensor

from pyro_helm.data.named_observations import DataLike
from pyro_helm.experiments.plots.recognition_means import recognised
from pyro_helm.programs.particles import Program
from pyro_helm.runtime.figures import axes_of, figure_of
from pyro_helm.runtime.pictures import COLOURS


def code_map(
    model: Program,
    guide: Program,
    data: DataLike,
    labels: ArrayLike | None = None,
    *,
    sites: Sequence[str] | None = None,
    restart: int = 0,
    num_draws: int = 20,
    seed: int = 0,
    ax: Axes | None = None,
) -> Figure:
    """Draw each datum at the first two principal components of recognition's mean code, in the colour of its label.

    The code of a datum is the probability that each hidden unit is on, averaged over draws of ``q(h | x)``; of a
    Categorical site it is the probability of each value. The axes say how much of the codes' variance they show.

    Args:
        model: any Pyro model.
        guide: its guide.
        data: as for :func:`log_likelihood`, a tensor, array or DataFrame say; two or more.
        labels: ``[data]``, of any kind; None for one colour.
        sites: latent sites that make the code; None for all.
        restart: which restart.
        num_draws: draws of recognition per datum.
        seed: of the draws.
        ax: where to draw; None for a figure of its own.

    Raises:
        ValueError: for another number of labels than data, a site that there is not, or too few data or units.

    >>> data = load_data("bars")
    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> figure = code_map(model, guide, data.test[:50], labels=data.test[:50].sum(1))
    """
    found = recognised(model, guide, data, restart=restart, num_draws=num_draws, seed=seed)
    units, number = found.units, len(found.data)
    chosen = list(units) if sites is None else list(sites)
    unknown = [name for name in chosen if name not in units]
    if unknown:
        raise ValueError(f"the guide has no site {unknown[0]!r}; it has {', '.join(units)}")
    names = np.zeros(number, dtype=int) if labels is None else np.asarray(labels)
    if names.shape != (number,):
        raise ValueError(f"labels must be one per datum, {number}, got an array of shape {names.shape}")
    code = torch.cat([units[name].reshape(number, -1).double() for name in chosen], dim=1)
    if min(code.shape) < 2:
        raise ValueError(f"a map needs two data and two hidden units or more, got {code.shape[0]} and {code.shape[1]}")
    places, shares = _principal_components(code)
    ax = axes_of(ax, (6.4, 5.0))
    for order, label in enumerate(np.unique(names)):
        some = names == label
        # a second round of colours has another shape
        marker = "o^sD"[order // len(COLOURS) % 4]
        x, y = places[some].T
        ax.scatter(x, y, s=14, color=COLOURS[order % len(COLOURS)], marker=marker, alpha=0.6, label=label)
        if labels is not None:
            words = ax.text(np.median(x), np.median(y), str(label), weight="bold", ha="center", va="center")
            words.set_path_effects([withStroke(linewidth=3, foreground="white")])
    ax.set(xlabel=f"first component, {shares[0]:.0%} of the variance", ylabel=f"second component, {shares[1]:.0%}")
    ax.set_title(f"Codes of recognition ({', '.join(chosen)})", fontsize=10)
    if labels is not None:
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.spines[["top", "right"]].set_visible(False)
    return figure_of(ax)


def _principal_components(code: Tensor) -> tuple[np.ndarray, list[float]]:
    """Places ``[data, 2]`` and the shares of the variance that they show."""
    centred = code - code.mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    total = float((s**2).sum()) or 1.0
    places = u[:, :2] * s[:2]
    # the sign of a component means nothing; the longer tail is put at the right, so that a map is the same each time
    places = places * torch.where((places**3).sum(0) < 0, -1.0, 1.0)
    return places.numpy(), [float(value) ** 2 / total for value in s[:2]]
