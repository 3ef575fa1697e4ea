"""The learning curves of one training, in one panel; many trainings are compared in the package of experiments."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyro_helm.runtime.figures import axes_of, figure_of
from pyro_helm.runtime.pictures import COLOURS

METRICS = {
    "valid_log_likelihood": "validation log-likelihood",
    "valid_elbo": "validation bound (ELBO)",
    "train_bound": "training bound of the scheme",
}
BY = {"epoch": "epoch", "seconds": "seconds of training"}


def training_curves(history: pd.DataFrame, *, by: str = "epoch", ax: Axes | None = None) -> Figure:
    """Draw every metric of a training: its median over restarts, and a band from the worst restart to the best.

    Values that are not finite are left out.

    Args:
        history: a :class:`Result`'s.
        by: ``"epoch"`` or ``"seconds"`` (of training).
        ax: where to draw; None for a figure of its own.

    Raises:
        ValueError: for a history without finite values, or another ``by``.

    """
    if by not in BY:
        raise ValueError(f"by must be one of {', '.join(BY)}; got {by!r}")
    rows = history[np.isfinite(history.value.astype(float))]
    drawn = [metric for metric in METRICS if (rows.metric == metric).any()]
    if not drawn:
        raise ValueError("there is nothing to draw: the history has no finite value")
    ax = axes_of(ax)
    for metric, colour in zip(drawn, COLOURS, strict=False):
        epochs = rows[rows.metric == metric].groupby("epoch")
        x, y = epochs[by].median(), epochs.value
        ax.fill_between(x, y.min(), y.max(), color=colour, alpha=0.18, linewidth=0)
        median = y.median()
        marker = "o" if len(median) == 1 else ""
        ax.plot(x, median, color=colour, marker=marker, label=f"{METRICS[metric]}, last {median.iloc[-1]:.2f}")
    ax.set(xlabel=BY[by], ylabel="nats per datum (higher is better)")
    restarts = rows.restart.unique()
    if len(restarts) > 1:
        ax.set_title(f"Median of {len(restarts)} restarts; band: worst to best", fontsize=9)
    if by == "epoch":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    # the first epochs, far below, would make all the rest look flat
    late = rows[rows.epoch > rows.epoch.min() + 0.1 * np.ptp(rows.epoch)]
    low, high = float(late.value.min() if len(late) else rows.value.min()), float(rows.value.max())
    ax.set_ylim(low - 0.08 * (high - low or 1.0), high + 0.08 * (high - low or 1.0))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    return figure_of(ax)
