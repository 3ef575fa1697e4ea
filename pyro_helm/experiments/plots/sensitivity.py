"""How much a setting matters: a score over its values, by scheme."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_helm.runtime.figures import figure_of, panels_in
from pyro_helm.runtime.pictures import COLOURS
from pyro_helm.runtime.shown import as_given

PANEL = ["dataset", "machine", "budget"]


def setting_sensitivity(
    table: pd.DataFrame, setting: str = "learning_rate", *, others: list[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw the validation log-likelihood over a setting: a panel per data set, machine and budget, a line per scheme.

    Lines are medians over restarts and seeds, bands reach from the worst restart to the best. Other settings that were
    tried as well are at their best, separately for each value. A ring marks the value that is best.

    Args:
        table: a study's final numbers, :meth:`pyro_helm.Study.table`.
        setting: the column of a setting; numbers of which all are positive have a logarithmic axis.
        others: columns of the other settings that vary.
        ax: where to draw, divided where there are several panels; None for a figure of its own.

    Raises:
        ValueError: where the table has no such column, or no finite validation log-likelihood.

    """
    if setting not in table:
        raise ValueError(f"the table has no setting {setting!r}; its columns are {', '.join(map(str, table.columns))}")
    rows = table[(table.split == "valid") & (table.metric == "log_likelihood") & np.isfinite(table.value)]
    has_it = rows.groupby("scheme")[setting].transform(lambda values: bool(values.notna().any())).astype(bool)
    rows = rows[has_it]
    if rows[setting].isna().any():  # a value of its own, beside which numbers are names too
        rows = rows.assign(**{setting: rows[setting].map(as_given)})
    if rows.empty:
        raise ValueError("there is nothing to draw: the table has no finite log-likelihood on validation data")
    panels = list(rows.groupby(PANEL, sort=False))
    schemes = sorted(rows.scheme.unique())
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    grid = panels_in(ax, lines, columns, (max(6.4, 4.2 * columns), 3.6 * lines + 0.5))
    for place in grid.flat[len(panels) :]:
        place.axis("off")
    for place, (labels, panel) in zip(grid.flat, panels, strict=False):
        for scheme, group in panel.groupby("scheme"):
            order = schemes.index(scheme)
            _line(place, group, setting, others or [], str(scheme), COLOURS[order % len(COLOURS)])
        place.set_title(", ".join(str(label) for label in labels if label), fontsize=9)
        place.title.set_parse_math(False)
        place.set(xlabel=setting.replace("_", " "), ylabel="validation log-likelihood, nats per datum")
        place.legend(frameon=False, fontsize=8)
        place.grid(alpha=0.25)
        place.spines[["top", "right"]].set_visible(False)
    return figure_of(grid[0, 0])


def _line(ax: Axes, group: pd.DataFrame, setting: str, others: list[str], scheme: str, colour: str) -> None:
    keys = [setting, *(name for name in others if name != setting and group[name].notna().any())]
    settings = group.groupby(keys, dropna=False).value.agg(["median", "min", "max"]).reset_index()
    best = settings.loc[settings.groupby(setting)["median"].idxmax()].sort_values(setting)
    x = best[setting].to_numpy()
    if x.dtype.kind not in "if":
        x = x.astype(str)
    elif (x > 0).all() and len(x) > 1:
        ax.set_xscale("log")
        ax.set_xticks(x, [f"{value:g}" for value in x])
        ax.minorticks_off()
    ax.fill_between(x, best["min"], best["max"], color=colour, alpha=0.15, linewidth=0)
    ax.plot(x, best["median"], "o-", color=colour, markersize=4, label=scheme)
    top = best["median"].to_numpy().argmax()
    ax.plot(x[top], best["median"].iloc[top], "o", markersize=10, fillstyle="none", color=colour)
