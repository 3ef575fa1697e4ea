"""Draw the architecture of a Helmholtz machine (Fig. 3 of Dayan, Hinton, Neal & Zemel 1995) from a live one.

    python -m analysis.paper.architecture --out results/paper

Both programs are traced by Pyro: sites, sizes, distributions and parameters are the traces', and a layer depends on
what its log-probability has a gradient with respect to. Fixed leaks, which are no parameters, are read from the layers.
Writes ``OUT/fig3_architecture.png``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pyro import poutine
from torch import Tensor

from pyro_helm.experiments import plots
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.layered import site_names

CAPTION = (
    "A Helmholtz machine of sizes {sizes}, bottom to top, with {imaging} imaging{restarts}, as its two programs show "
    "when traced. Generation (orange, dashed, downwards, {num_theta} parameters theta) draws {dream}; recognition "
    "(blue, solid, upwards, {num_phi} parameters phi) proposes {propose} for given data x. Lines are the connections "
    "of all units of small layers, or else of one unit and one cause: no unit depends on another of its own layer. "
    "Squares are always-on causes, the biases; a generative bias is all that drives a unit of the top layer. [i x j] "
    "counts the weights from i units to j."
)
GENERATION, RECOGNITION = "#D55E00", "#0072B2"
MAX_DRAWN = 41
ALL_LINES = 20
"""Connections between two layers up to which all are drawn, not those of a single unit alone."""
HALF_WIDTH, STOREY, TEXT_AT = 2.5, 1.6, 3.25  # inches
DRAWN = (5, 3, 2)
"""The print has three layers and 5 inputs; the text does not give the sizes of the layers above."""
# what the drive of a unit means, by the distribution of its layer: the paper's 3.3, A.1 and A.2
PROBABILITY = {
    "SigmoidBernoulli": r"\sigma(z),\ \ z=",
    "NoisyOrBernoulli": r"1-e^{-r},\ \ r=",
    "OddsBernoulli": r"o/(1+o),\ \ o=",
}
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Site:
    """A layer as a trace of its program shows it.

    Attributes:
        name: of the sample site.
        units: its number of units.
        distribution: class name of the distribution of its units.
        parents: names of the sites on which it depends.
        parameters: shapes of the parameters on which it depends, by name.

    """

    name: str
    units: int
    distribution: str
    parents: tuple[str, ...]
    parameters: dict[str, tuple[int, ...]]


def sites_of(program: torch.nn.Module, values: Mapping[str, Tensor]) -> list[Site]:
    """Trace a program and list its sites in the order in which it draws them.

    A layer depends on the values and parameters with respect to which its log-probability has a gradient.

    Args:
        program: model or guide.
        values: value ``[..., data, units]`` of each site, ``x`` among them.

    """
    leaves = {name: value.detach().clone().requires_grad_() for name, value in values.items()}
    hidden = {name: leaf for name, leaf in leaves.items() if name != "x"}
    trace = poutine.trace(poutine.condition(program, hidden)).get_trace({"x": leaves["x"]})
    trace.compute_log_prob()
    return [_site(trace.nodes[name], leaves, program) for name in trace.nodes if name in leaves]


def _site(node: dict[str, Any], leaves: Mapping[str, Tensor], program: torch.nn.Module) -> Site:
    sources = {name: leaf for name, leaf in leaves.items() if name != node["name"]} | dict(program.named_parameters())
    gradients = torch.autograd.grad(node["log_prob_sum"], list(sources.values()), allow_unused=True, retain_graph=True)
    felt = [name for name, gradient in zip(sources, gradients, strict=True) if gradient is not None]
    return Site(
        name=node["name"],
        units=node["value"].shape[-1],
        distribution=type(node["fn"].base_dist).__name__,
        parents=tuple(name for name in felt if name in leaves),
        parameters={
            name.removesuffix("_unconstrained"): tuple(sources[name].shape) for name in felt if name not in leaves
        },
    )


def read_machine(model: BeliefNetwork, guide: FactorialRecognition) -> tuple[list[Site], list[Site]]:
    """Sites of the model and of the guide, both at the values of one dream of the model."""
    with torch.no_grad():
        dream = poutine.trace(model).get_trace()
    values = {name: node["value"] for name, node in dream.nodes.items() if name in site_names(model.sizes)}
    return sites_of(model, values), sites_of(guide, values)


def figure_of(model: BeliefNetwork, guide: FactorialRecognition) -> Figure:
    """Draw the layers, the connections of one unit of each kind, the biases and the conditionals of every layer."""
    generative, recognition = read_machine(model, guide)
    # the model draws its top layer first
    levels = {site.name: STOREY * level for level, site in enumerate(reversed(generative))}
    fixed = {
        name: None if layer.fixed_leak is None else float(layer.fixed_leak) or None  # a sigmoid's 0 is no leak
        for name, layer in zip(levels, model.generative, strict=True)
    }
    units = {site.name: unit_positions(site.units) for site in generative}
    figure = Figure(figsize=(13.5, STOREY * len(levels) + 1.1), layout="constrained")
    ax = figure.add_subplot()
    ax.set(xlim=(-6.7, 6.7), ylim=(-0.35, STOREY * (len(levels) - 1) + 0.9), aspect="equal")
    ax.axis("off")
    for site in generative:
        draw_connections(ax, site, units, levels, up=False)
        draw_layer(ax, site, units[site.name], levels[site.name])
        draw_text(ax, site, levels, fixed[site.name], up=False)
    for site in recognition:
        draw_connections(ax, site, units, levels, up=True)
        draw_text(ax, site, levels, None, up=True)
    draw_biases(ax, generative, recognition, levels, units, fixed)
    draw_headings(ax, levels)
    figure.supxlabel(
        textwrap.fill(caption(model, guide, generative, recognition), 175), x=0.02, ha="left", fontsize=9.5
    )
    return figure


def draw_headings(ax: Axes, levels: Mapping[str, float]) -> None:
    """Say which side is which program, and that recognition does not draw the data."""
    top = max(levels.values()) + 0.75
    ax.text(-TEXT_AT, top, "Recognition (guide): up", color=RECOGNITION, ha="right", weight="bold", fontsize=13)
    ax.text(TEXT_AT, top, "Generation (model): down", color=GENERATION, weight="bold", fontsize=13)
    ax.text(-TEXT_AT, levels["x"], "given: data $x$", color=RECOGNITION, ha="right", va="center", fontsize=11)


def unit_positions(units: int) -> Array:
    """Horizontal places of the units of a layer, nan in the middle for those of a large layer that are not drawn."""
    drawn = min(units, MAX_DRAWN)
    reach = min(HALF_WIDTH, 0.35 * (drawn - 1))
    places = np.linspace(-reach, reach, drawn)
    if units > MAX_DRAWN:
        places[np.abs(np.arange(drawn) - drawn // 2) < 3] = np.nan
    return np.asarray(places)


def draw_layer(ax: Axes, site: Site, places: Array, level: float) -> None:
    """Draw the units of a layer, and dots for those left out."""
    shown = places[~np.isnan(places)]
    size = 0.6 * (np.diff(shown).min() if len(shown) > 1 else 0.35)
    diameters = np.full(len(shown), min(size, 0.22))
    circles = EllipseCollection(
        diameters, diameters, np.zeros(len(shown)), units="xy", zorder=3, facecolors="white", edgecolors="black",
        offsets=np.stack([shown, np.full_like(shown, level)], -1), offset_transform=ax.transData, label=site.name,
    )  # fmt: skip
    ax.add_collection(circles)
    if len(shown) < len(places):
        ax.text(0, level, r"$\cdots$", ha="center", va="center", fontsize=14)


def draw_connections(
    ax: Axes, site: Site, units: Mapping[str, Array], levels: Mapping[str, float], *, up: bool
) -> None:
    """Draw what one unit receives (up) or one cause gives (down), of small layers all; and the weights' name and shape.

    Generative connections are dashed, as in the print.
    """
    colour = RECOGNITION if up else GENERATION
    for parent in site.parents:
        begin, end = (units[name][~np.isnan(units[name])] for name in (parent, site.name))
        if len(begin) * len(end) <= ALL_LINES:
            begin, end = (places + (-0.05 if up else 0.05) for places in (begin, end))  # beside those of the other way
        elif up:
            end = end[[len(end) // 3]]
        else:
            begin = begin[[2 * len(begin) // 3]]
        towards = np.sign(levels[site.name] - levels[parent])
        lines = [
            [(x, levels[parent] + 0.13 * towards), (y, levels[site.name] - 0.16 * towards)] for x in begin for y in end
        ]
        style = "solid" if up else "dashed"
        ax.add_collection(LineCollection(lines, colors=colour, linewidths=0.9, alpha=0.65, linestyles=style))
        ax.plot(
            end, np.full_like(end, lines[0][1][1]), "^" if towards > 0 else "v", color=colour, linestyle="",
            markersize=8 if up else 4,
        )  # fmt: skip
        side, align = (-TEXT_AT, "right") if up else (TEXT_AT, "left")
        shapes = [f"{name} [{shape[-2]} x {shape[-1]}]" for name, shape in site.parameters.items() if "weight" in name]
        middle = (levels[parent] + levels[site.name]) / 2
        symbol = r"$\phi$: " if up else r"$\theta$: "
        ax.text(side, middle, symbol + ", ".join(shapes), color=colour, ha=align, va="center", fontsize=9)


def draw_biases(
    ax: Axes, generative: list[Site], recognition: list[Site], levels: Mapping[str, float],
    units: Mapping[str, Array], fixed: Mapping[str, float | None],
) -> None:  # fmt: skip
    """Draw an always-on cause beside every layer with a bias: recognition's at the left, generation's at the right."""
    for sites, side, colour in ((generative, 1, GENERATION), (recognition, -1, RECOGNITION)):
        for site in sites:
            if not learned_bias(site) and (side == -1 or fixed[site.name] is None):
                continue
            edge, level = np.nanmax(units[site.name]) * side, levels[site.name]
            ax.annotate(
                "1", (edge + 0.14 * side, level), (edge + 0.48 * side, level), color=colour, fontsize=8,
                ha="center", va="center", bbox={"boxstyle": "square", "facecolor": "white", "edgecolor": colour},
                arrowprops={"arrowstyle": "-|>", "color": colour, "linestyle": "-" if side == -1 else "--"},
            )  # fmt: skip


def draw_text(ax: Axes, site: Site, levels: Mapping[str, float], fixed: float | None, *, up: bool) -> None:
    """Write a layer's name and size (once, at the right) and its conditional."""
    text, level = formula(site, fixed, up=up), levels[site.name]
    if up:
        ax.text(-TEXT_AT, level, text, color=RECOGNITION, ha="right", va="center", fontsize=11)
        return
    name = f"${symbol_of(site.name)}$: {site.units} unit{'s' if site.units > 1 else ''}"
    ax.text(TEXT_AT, level + 0.17, name, weight="bold", va="center", fontsize=11)
    ax.text(TEXT_AT, level - 0.13, text, color=GENERATION, va="center", fontsize=11)


def symbol_of(name: str) -> str:
    """A site's name in mathematical writing, such as ``h^{1}`` for ``h1``."""
    return name if name == "x" else f"h^{{{name[1:]}}}"


def learned_bias(site: Site) -> bool:
    """Whether a layer has a learned bias."""
    return any(name.endswith("leak") for name in site.parameters)


def formula(site: Site, fixed: float | None, *, up: bool) -> str:
    """The conditional probability that unit j of a layer is on, in mathematical writing."""
    weight, bias, letter = (r"\phi", "c", "q") if up else (r"\theta", "b", "p")
    if site.distribution == "NoisyOrBernoulli":
        weight = r"\lambda"  # a rate, -log(1 - theta) of the paper's theta
    terms = [rf"\sum_i {symbol_of(parent)}_i\,{weight}_{{ij}}" for parent in site.parents]
    terms += [f"{bias}_j"] * learned_bias(site) + ([] if not fixed else [f"{fixed:.3g}"])
    given = "".join(rf"\,|\,{symbol_of(parent)}" for parent in site.parents)
    drive = "+".join(terms) or "0"
    return f"${letter}({symbol_of(site.name)}_j=1{given})={PROBABILITY[site.distribution]}{drive}$"


def caption(model: BeliefNetwork, guide: FactorialRecognition, generative: list[Site], recognition: list[Site]) -> str:
    """The caption, with what the traces and the parameters say."""
    imaging = ", ".join(dict.fromkeys(model.imaging))
    return CAPTION.format(
        sizes="-".join(str(site.units) for site in reversed(generative)),
        imaging=imaging,
        restarts=f" ({model.restarts} restarts at once)" if model.restarts > 1 else "",
        num_theta=sum(parameter.numel() for parameter in model.parameters()) // model.restarts,
        num_phi=sum(parameter.numel() for parameter in guide.parameters()) // guide.restarts,
        dream=" then ".join(site.name for site in generative),
        propose=" then ".join(site.name for site in recognition),
    )


def draw(out: Path, *, quick: bool = False) -> Path:
    """Write ``out/fig3_architecture.png`` and return its path; it is quick always."""
    path = out / "fig3_architecture.png"
    model, guide = BeliefNetwork(DRAWN, imaging="odds", seed=0), FactorialRecognition(DRAWN, seed=0)
    plots.save_figure(figure_of(model, guide), path)
    return path


def main(
    out: Annotated[Path, typer.Option(help="Folder for the figure.")] = Path("results/paper"),
    quick: Annotated[bool, typer.Option("--quick", help="Nothing: the machine is small.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Draw the figure and print its path."""
    torch.set_num_threads(threads)
    typer.echo(draw(out, quick=quick))


if __name__ == "__main__":
    typer.run(main)
