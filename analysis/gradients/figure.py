"""Noise, bias and noise x cost of the gradients, drawn."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.gradients.variants import VARIANTS

LIKE: dict[str, dict[str, tuple[str, ...]]] = {
    "theta": {
        "wake_sleep": ("reinforce", "nvil", "disarm", "relaxed straight-through"),
        "rws wake-phi": ("rws sleep-phi", "vimco", "disarm multi-sample"),
    },
    "phi": {"wake_sleep": ("rws sleep-phi",)},
}
"""Schemes whose estimator of one part is that of another, which stands for them in the figure."""
PANELS = {
    "relative_variance": ("noise", "variance / |exact gradient|²"),
    "relative_bias": ("bias", "|bias| / |exact gradient|"),
    "milliseconds_to_snr_1": ("noise x cost", "ms of computing until signal = noise"),
}
"""Columns that are drawn, their titles, and the labels of their axes."""


def draw(table: pd.DataFrame) -> Figure:
    """Noise, bias and noise x cost by the number of particles: a row for each part of the machine and net."""
    figure = Figure(figsize=(13, 13.5), layout="constrained")
    nets = list(dict.fromkeys(table.net))
    for place, part in enumerate(LIKE):
        block: Any = figure.add_subfigure(figure.add_gridspec(len(LIKE), 1)[place])
        which = "generative" if part == "theta" else "recognition"
        block.suptitle(f"Gradient of the {which} parameters, {part}", fontweight="bold")
        axes = block.subplots(len(nets), len(PANELS), sharex=True, squeeze=False)
        for row, net in zip(axes, nets, strict=True):
            some = table[(table.net == net) & (table.part == part) & (table.layer == "all")]
            for ax, column in zip(row, PANELS, strict=True):
                draw_panel(ax, some, part, column)
                ax.set(title=f"{net} net: {PANELS[column][0]}", ylabel=PANELS[column][1])
        for ax in axes[-1]:
            ax.set_xlabel("particles per datum, K")
        block.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    figure.supxlabel("Hollow markers: no bias was found, and one as large as the marker would have been.", fontsize=10)
    return figure


def draw_panel(ax: Axes, table: pd.DataFrame, part: str, column: str) -> None:
    """One column of the table for every scheme that has an estimator of its own."""
    twins = {twin for group in LIKE[part].values() for twin in group}
    for label, variant in VARIANTS.items():
        run = table[table.scheme == label]
        if label in twins or run.empty:
            continue
        style: dict[str, Any] = {"color": variant.colour, "marker": variant.marker, "markersize": 5}
        if column == "relative_bias":
            unseen = run[run.bias <= run.bias_floor]
            ax.plot(unseen.particles, unseen.bias_floor / unseen.exact_norm, linestyle="", fillstyle="none", **style)
            run = run[run.bias > run.bias_floor]
        name = "\n".join([label, *(f"= {twin}" for twin in LIKE[part].get(label, ()))])
        ax.plot(run.particles, run[column], label=name, linewidth=1.2, **style)
    ax.set(xscale="log", yscale="log")
    numbers = sorted(set(table.particles))
    ax.set_xticks(numbers, [str(number) for number in numbers])
    ax.xaxis.minorticks_off()
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
