"""Learning curves: how a bound grew over the epochs, by scheme, with the spread over restarts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyro_helm.runtime.figures import figure_of, panels_in
from pyro_helm.runtime.pictures import COLOURS

LINES = ("-", ":", "-.")
BY = {"seconds": "seconds of training", "steps": "training steps"}
METRICS = {
    "valid_log_likelihood": "validation log-likelihood, nats per datum",
    "valid_elbo": "validation bound (ELBO), nats per datum",
    "train_bound": "training bound of the scheme, nats per datum",
}
HOW_TO_READ = "Higher is better. Line: median over restarts. Dark band: quartiles. Light band: worst to best."


def learning_curves(
    table: pd.DataFrame,
    *,
    metric: str = "valid_log_likelihood",
    by: str = "epoch",
    ceilings: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw a metric over epochs: a row per data set and sizes, a panel per imaging model, a colour per scheme.

    Lines are medians over restarts; dark bands reach from quartile to quartile, light ones from the worst restart to
    the best. Values that are not finite are left out. The first tenth of the epochs may lie below the panel.

    Args:
        table: tidy frame with the columns of :data:`pyro_helm.runtime.tables.COLUMNS`.
        metric: which metric, in nats per datum.
        by: the column that is at the bottom, ``"epoch"``, ``"seconds"`` (of training) or ``"steps"``.
        ceilings: what no model can exceed, nats per datum, by data set: minus the entropy of its distribution.
        ax: where to draw, divided where there are several panels; None for a figure of its own.

    Raises:
        ValueError: for an empty table, or a metric of which it has no finite value.

    """
    if table.empty:
        raise ValueError("there are no learning curves to draw: the table is empty")
    rows = table[(table.metric == metric) & np.isfinite(table.value.astype(float))]
    if rows.empty:
        known = ", ".join(sorted(table.metric.unique()))
        raise ValueError(f"the table has no finite value of the metric {metric!r}; it has the metrics {known}")
    rows = rows.fillna({"dataset": "", "sizes": "", "imaging": ""})
    rows = rows.assign(data=rows.dataset + " " + rows.sizes)
    schemes, imaging, sets = sorted(rows.scheme.unique()), rows.imaging.unique(), rows.data.unique()
    size = max(4.2 * len(imaging), 7.0), 4.4 * len(sets) + 0.4
    grid = panels_in(ax, len(sets), len(imaging), size, sharey="row")
    for (line, column), place in np.ndenumerate(grid):
        panel = rows[(rows.data == sets[line]) & (rows.imaging == imaging[column])]
        if panel.empty:
            place.axis("off")
            continue
        _curves(place, panel, schemes, by)
        place.set(title=f"{sets[line]}, {imaging[column]}".strip(", "), xlabel=BY.get(by, by))
        place.title.set_parse_math(False)  # a data set's name may hold dollars
        ceiling = (ceilings or {}).get(panel.dataset.iloc[0])
        if ceiling is not None:
            _mark_ceiling(place, ceiling)
        if place is grid[line, 0] or not grid[line, 0].axison:
            place.set_ylabel(METRICS.get(metric, metric.replace("_", " ")))
            place.set_ylim(*_limits(rows[rows.data == sets[line]], ceiling))
    figure = figure_of(grid[0, 0])
    if ax is None:
        figure.suptitle(HOW_TO_READ, fontsize=9)
    return figure


def _mark_ceiling(ax: Axes, ceiling: float) -> None:
    """Draw a dashed line at what no model can exceed."""
    ax.axhline(ceiling, color="0.25", linestyle="--", linewidth=1)
    text, place = f"no model can exceed {ceiling:.3f}", ax.get_yaxis_transform()
    ax.text(0.02, ceiling, text, transform=place, fontsize=8, color="0.25", va="bottom")


def _curves(ax: Axes, panel: pd.DataFrame, schemes: list[str], by: str) -> None:
    """Draw a line and two bands per scheme, and a legend with the last medians, best scheme first."""
    lines = []
    for scheme, group in panel.groupby("scheme"):
        order = schemes.index(str(scheme))
        colour, style = COLOURS[order % len(COLOURS)], LINES[order // len(COLOURS) % len(LINES)]
        epochs = pd.DataFrame({q: group.groupby("epoch").value.quantile(q) for q in (0.0, 0.25, 0.5, 0.75, 1.0)})
        x = group.groupby("epoch")[by].median()
        for low, high, alpha in ((0.0, 1.0, 0.13), (0.25, 0.75, 0.25)):
            ax.fill_between(x, epochs[low], epochs[high], color=colour, alpha=alpha, linewidth=0)
        label, marker = f"{scheme}  {epochs[0.5].iloc[-1]:.2f}", "o" if len(epochs) == 1 else ""
        lines += ax.plot(x, epochs[0.5], style, color=colour, linewidth=2, marker=marker, label=label)
    lines.sort(key=lambda line: -float(np.asarray(line.get_ydata())[-1]))
    ax.legend(
        handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.15), frameon=False, fontsize=8,
        title="last median, best first", title_fontsize=8,
    )  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(integer=by != "seconds", steps=[1, 2, 5, 10]))
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)


def _limits(rows: pd.DataFrame, ceiling: float | None) -> tuple[float, float]:
    """Limits that show every scheme's end, but not the first epochs, beside which all the rest would look flat."""
    late = rows[rows.epoch > rows.epoch.min() + 0.1 * (rows.epoch.max() - rows.epoch.min()) - 0.5]
    ends = [group[group.epoch == group.epoch.max()].value.median() for _, group in rows.groupby(["imaging", "scheme"])]
    low = min(float(late.value.quantile(0.05)), *ends)
    high = max(float(rows.value.max()), -np.inf if ceiling is None else ceiling)
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + margin
