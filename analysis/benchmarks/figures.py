"""Figures of the measurements: steps beside those by hand, and how time grows."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.benchmarks.contenders import MATMULS, SCHEMES, TORCH
from analysis.benchmarks.scaling import VARIED, curves

TICKS = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0, 8.0)
MARKERS = "osD^v<>PX"


def steps(table: pd.DataFrame) -> Figure:
    """A panel for each net: times relative to the hand-written PyTorch step of the same scheme, with quartiles."""
    rows = table[table.group == "training step"]
    nets, everyone = rows.net.unique(), [who for who in rows.who.unique() if who not in (TORCH, MATMULS)]
    figure = Figure(figsize=(4.2 * len(nets) + 0.5, 4.4), layout="constrained")
    panels = figure.subplots(1, len(nets), squeeze=False, sharey=True)[0]
    for ax, net in zip(panels, nets, strict=True):
        of_net = rows[rows.net == net]
        base = of_net[of_net.who == TORCH].set_index("scheme").seconds
        ax.axvline(1, color="0.6", lw=0.8)
        for number, who in enumerate(everyone):
            own = of_net[of_net.who == who]
            by_hand = own.scheme.map(base)
            place = own.scheme.map(SCHEMES.index) + 0.7 * ((number + 0.5) / len(everyone) - 0.5)
            ax.hlines(place, own.q25 / by_hand, own.q75 / by_hand, color=f"C{number}", lw=1)
            ax.plot(own.seconds / by_hand, place, MARKERS[number], color=f"C{number}", ms=4, label=who)
        ax.set(xscale="log", title=net, xlabel="times a step by hand in PyTorch")
        least, most = ax.get_xlim()
        ticks = [tick for tick in TICKS if least <= tick <= most]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.set_yticks(range(len(SCHEMES)), SCHEMES)
        ax.grid(axis="x", color="0.92", lw=0.5)
        ax.set_axisbelow(True)
    panels[0].set_ylim(len(SCHEMES) - 0.5, -0.5)
    handles = {label: handle for ax in panels for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=1 + len(nets), fontsize=8)
    return figure


def growth(table: pd.DataFrame) -> Figure:
    """A panel for each thing that was varied: time of a step, and as a thin line what would be in proportion."""
    rows = curves(table)
    everyone = list(rows.who.unique())
    varied = [name for name in VARIED if name in set(rows.varied)]
    figure = Figure(figsize=(3.4 * len(varied), 3.8), layout="constrained")
    for ax, name in zip(figure.subplots(1, len(varied), squeeze=False)[0], varied, strict=True):
        for number, who in enumerate(everyone):
            curve = rows[(rows.varied == name) & (rows.who == who)].sort_values("value")
            if len(curve):
                last = curve.iloc[-1]
                ax.plot(curve.value, last.seconds * curve.value / last.value * 1e3, color=f"C{number}", lw=0.5)
                ax.fill_between(curve.value, curve.q25 * 1e3, curve.q75 * 1e3, color=f"C{number}", alpha=0.2, lw=0)
                ax.plot(curve.value, curve.seconds * 1e3, "o-", color=f"C{number}", ms=3, label=who)
        ax.set(xscale="log", yscale="log", xlabel="width of the lower hidden layer" if name == "width" else name)
        values = sorted(set(rows[rows.varied == name].value))
        ax.set_xticks(values, [str(int(value)) for value in values], fontsize=8)
        ax.minorticks_off()
    figure.axes[0].set_ylabel("ms per step")
    figure.suptitle("reweighted wake-sleep; thin lines: in proportion to the last point", fontsize=9)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure
