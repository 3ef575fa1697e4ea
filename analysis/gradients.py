"""How noisy, how biased and how costly the gradient of every scheme is, against the exact one.

    python -m analysis.gradients --out results/gradients

A machine of 9-6-4 sigmoid units on bars of 3 by 3 pixels, untrained and trained: all of its 2^19 joint states can be
summed over, so that what each scheme's gradient estimates is known. Restarts with equal parameters are independent
replicates of an estimate. Of each scheme, number of particles and layer (weights and biases together), the table has

    bias       norm of mean minus exact gradient, with the noise of the mean taken off; 0 where nothing is left
    bias_floor the smallest bias that shows: what its square exceeds by five standard errors
    variance   of one estimate, summed over parameters
    snr        norm of the exact gradient / sqrt(variance)

and the processor time of a step, which is loss and backward pass of one machine. Prints the rows of all layers
together, and writes all to ``OUT.parquet`` and ``OUT.csv``, and the figure to ``OUT.png``.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import pandas as pd
import pyro
import torch
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import pyro_helm as helm
from pyro_helm.data.bars import bars_distribution
from pyro_helm.experiments.console import print_table
from pyro_helm.experiments.plots import save_figure
from pyro_helm.guides import FactorialRecognition
from pyro_helm.latents.joint_states import all_joint_states, discrete_sites, num_states, placed
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.particles import draw_from_guide
from pyro_helm.runtime.suggestions import unknown
from pyro_helm.runtime.tables import write_table
from pyro_helm.schemes.states_of_data import KeepsStates

SIZES = (9, 6, 4)
PARTICLES: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
AT_ONCE = 2500
"""Particles per datum of all replicates in one backward pass."""
AT_ONCE_NVIL = 250
"""Likewise, where every replicate has baselines of its own."""

Layers = dict[tuple[str, str], Tensor]
"""Gradients by part (theta, phi) and layer, each ``[replicates, parameters]``."""


class Net(NamedTuple):
    """A machine and the data that its gradients are of."""

    model: BeliefNetwork
    guide: FactorialRecognition
    x: Tensor


class Variant(NamedTuple):
    """A scheme with its settings, what its gradients are set against, and how it is drawn."""

    make: Callable[[int], helm.Scheme]
    theta: str
    phi: str
    least: int
    colour: str
    marker: str


VARIANTS = {
    "reinforce": Variant(helm.Reinforce, "elbo", "elbo", 1, "#0072B2", "o"),
    # normalised signals would shorten the gradient of each site by a factor of its own
    "nvil": Variant(partial(helm.NVIL, normalise=False), "elbo", "elbo", 1, "#56B4E9", "s"),
    "disarm": Variant(helm.DisARM, "elbo", "elbo", 1, "#003B5C", "D"),
    "exact_layers": Variant(helm.ExactLayers, "elbo", "elbo", 1, "#F0C000", "p"),
    "memoised_wake_sleep": Variant(helm.MemoisedWakeSleep, "evidence", "posterior", 1, "#B22222", "h"),
    "joint_stochastic_approximation": Variant(
        helm.JointStochasticApproximation, "evidence", "posterior", 1, "#FF7F7F", "H"
    ),
    "relaxed straight-through": Variant(helm.Relaxed, "elbo", "elbo", 1, "#7B3FA0", "<"),
    "relaxed continuous": Variant(partial(helm.Relaxed, straight_through=False), "elbo", "elbo", 1, "#C39BD3", ">"),
    "wake_sleep": Variant(helm.WakeSleep, "elbo", "dreams", 1, "#000000", "X"),
    "rws sleep-phi": Variant(
        partial(helm.ReweightedWakeSleep, insomnia=0.0), "evidence", "dreams", 2, "#888888", "x"
    ),
    "rws wake-phi": Variant(helm.ReweightedWakeSleep, "evidence", "posterior", 2, "#D55E00", "^"),
    "rws defensive": Variant(
        partial(helm.ReweightedWakeSleep, defensive=0.2), "evidence", "posterior", 2, "#E69F00", "v"
    ),
    "gibbs": Variant(helm.Gibbs, "evidence", "posterior", 1, "#8B4513", "*"),
    "vimco": Variant(helm.VIMCO, "evidence", "importance", 2, "#009E73", "P"),
    "disarm multi-sample": Variant(
        partial(helm.DisARM, multi_sample=True), "evidence", "importance", 2, "#7FBF3F", "d"
    ),
    "tvo": Variant(helm.TVO, "thermodynamic", "thermodynamic", 2, "#CC79A7", "h"),
}  # fmt: skip
"""Every scheme that draws samples, by what the table calls it."""

LIKE: dict[str, dict[str, tuple[str, ...]]] = {
    "theta": {
        "wake_sleep": ("reinforce", "nvil", "disarm", "relaxed straight-through"),
        "rws wake-phi": ("rws sleep-phi", "vimco", "disarm multi-sample"),
    },
    "phi": {"wake_sleep": ("rws sleep-phi",)},
}
"""Schemes whose estimator of one part is that of another, which stands for them in the figure."""
SHOWN = "net,scheme,particles,part,target,relative_bias,snr,milliseconds,milliseconds_to_snr_1"
"""Columns that are printed."""
PANELS = {
    "relative_variance": ("noise", "variance / |exact gradient|²"),
    "relative_bias": ("bias", "|bias| / |exact gradient|"),
    "milliseconds_to_snr_1": ("noise x cost", "ms of computing until signal = noise"),
}
"""Columns that are drawn, their titles, and the labels of their axes."""


def main(
    out: Annotated[Path, typer.Option(help="Stem of the table and the figure.")] = Path("results/gradients"),
    replicates: Annotated[int, typer.Option(help="Estimates of each gradient.")] = 2000,
    epochs: Annotated[int, typer.Option(help="Of the trained machine, four steps each.")] = 300,
    lessons: Annotated[
        int, typer.Option(help="Steps of NVIL beforehand; a quarter of schemes that keep states.")
    ] = 200,
    rounds: Annotated[int, typer.Option(help="Times each step is timed.")] = 25,
    schemes: Annotated[str, typer.Option(help="Rows of the table, separated by commas, or all.")] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="A little of each, to see that all works.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Measure, print and draw."""
    torch.set_num_threads(threads)
    particles = PARTICLES
    if quick:
        replicates, epochs, lessons, rounds, particles = 100, 5, 20, 1, (2, 5)
    labels = chosen_labels(schemes)
    cost = milliseconds(labels, particles, machine(0), rounds)
    rows: list[dict[str, Any]] = []
    for name, num_epochs in (("untrained", 0), ("trained", epochs)):
        net = machine(num_epochs)
        for number in particles:
            rows += [{"net": name, **row} for row in measure(labels, net, number, replicates, lessons)]
            typer.echo(f"{name}, {number} particles done", err=True)
    table = pd.DataFrame(rows)
    # a step takes the same time whatever the parameters
    table["milliseconds"] = [cost[key] for key in zip(table.particles, table.scheme, strict=True)]
    table["variance_x_cost"] = table.variance * table.milliseconds
    table["milliseconds_to_snr_1"] = table.relative_variance * table.milliseconds
    print_table(
        table.loc[table.layer == "all", SHOWN.split(",")],
        "gradients of all layers together, 20 data; milliseconds per step of one machine",
    )
    write_table(table, out)
    save_figure(draw(table), out.with_suffix(".png"))
    typer.echo(f"table and figure: {out}")


def machine(epochs: int, num_data: int = 20) -> Net:
    """The net after so many epochs, and different patterns drawn with their probabilities."""
    bars = bars_distribution(3)
    model, guide = BeliefNetwork(SIZES, seed=0), FactorialRecognition(SIZES, seed=0)
    if epochs:
        scheme = helm.ReweightedWakeSleep(5)
        helm.fit(
            model, guide, bars, scheme=scheme, num_epochs=epochs, batch_size=13, learning_rate=0.02, progress=False
        )
    rows = torch.multinomial(bars.probabilities, num_data, generator=torch.Generator().manual_seed(0))
    return Net(model, guide, bars.patterns[rows].to(torch.float32))


# exact gradients ------------------------------------------------------------------------------------------------------


def enumerated(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    """``log p(x, h)`` and ``log q(h | x)`` of every joint state, ``[states, data]``."""
    call = {"observations": {"x": x}}
    sites = discrete_sites(net.model, call)
    count = num_states(sites)
    (states,) = all_joint_states(sites, count, x.device)
    particles = draw_from_guide(net.model, net.guide, count, kwargs=call, values=placed(sites, states))
    return particles.log_joint[:, 0], particles.log_guide[:, 0]


def objective(name: str, net: Net, scheme: helm.Scheme) -> Tensor:
    """What a scheme follows, summed over the data; a scalar in nats whose gradient is the exact one."""
    if name == "dreams":
        width = net.x.shape[-1]
        every_x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).to(net.x)] * width)
        log_p, log_q = enumerated(net, every_x)
        return len(net.x) * (log_p.exp().detach() * log_q).sum()
    log_p, log_q = enumerated(net, net.x)
    if name == "elbo":
        return (log_q.exp() * (log_p - log_q)).sum()
    if name == "evidence":
        return log_p.logsumexp(0).sum()
    if name == "posterior":
        return (log_p.softmax(0).detach() * log_q).sum()
    if name == "importance":
        return importance_bound(log_p, log_q, scheme.num_particles).sum()
    return thermodynamic(log_p, log_q, scheme.points)


def importance_bound(log_p: Tensor, log_q: Tensor, num_particles: int, step: float = 0.2) -> Tensor:
    """E[log mean_k w_k] over K independent draws of the guide, ``[data]``, for any K.

        log s = integral_0^inf (exp(-t) - exp(-t s)) / t dt,    E[exp(-t mean_k w_k)] = (sum_h q(h) exp(-t w(h) / K))^K

    The integral is taken over log t by the trapezoid rule, as in :mod:`pyro_helm.layers.quadrature`.
    """
    log_evidence = log_p.logsumexp(0).detach()
    log_w = log_p - log_q - log_evidence
    low = -20 - float(log_w.detach().max().clamp(min=0))
    high = 6 + math.log(num_particles) - float(log_w.detach().min())
    log_t = torch.arange(low, high, step).to(log_w)[:, None, None]
    log_mean = (log_q - torch.exp(log_t + log_w - math.log(num_particles))).logsumexp(1)
    integrand = torch.exp(-log_t[:, 0].exp()) - torch.exp(num_particles * log_mean)
    return log_evidence + step * integrand.sum(0)


def thermodynamic(log_p: Tensor, log_q: Tensor, points: list[float]) -> Tensor:
    """The thermodynamic objective from below, with the exact expectation at every point; summed over the data."""
    total = log_p.new_zeros(())
    for low, high in pairwise(points):
        share = ((1 - low) * log_q + low * log_p).softmax(0)
        total = total + (high - low) * (share * (log_p - log_q)).sum()
    return total


def exact_gradients(name: str, net: Net, scheme: helm.Scheme) -> Layers:
    """Of minus the objective, in double precision, each ``[1, parameters]``."""
    double = Net(copy.deepcopy(net.model).double(), copy.deepcopy(net.guide).double(), net.x.double())
    (-objective(name, double, scheme)).backward()
    return by_layer(double.model, double.guide)


def by_layer(model: BeliefNetwork, guide: FactorialRecognition) -> Layers:
    """Gradients after a backward pass, by layer and all together."""
    found = {}
    for part, layers, names in (
        ("theta", model.generative, ("x", "h1", "h2")),
        ("phi", guide.recognition, ("h1", "h2")),
    ):
        for name, layer in zip(names, layers, strict=True):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in layer.parameters()]
            found[part, name] = torch.cat([g.flatten(1) for g in gradients], dim=1).double()
        found[part, "all"] = torch.cat([found[part, name] for name in names], dim=1)
    return found


# estimates ------------------------------------------------------------------------------------------------------------


def replicated(net: Net, number: int) -> Net:
    """The net with so many restarts, all with its parameters."""
    model, guide = BeliefNetwork(SIZES, restarts=number), FactorialRecognition(SIZES, restarts=number)
    for many, one in ((model, net.model), (guide, net.guide)):
        many.load_state_dict({key: value.expand(number, *value.shape[1:]) for key, value in one.state_dict().items()})
    return Net(model, guide, net.x)


def estimates(scheme: helm.Scheme, net: Net, replicates: int, lessons: int) -> Layers:
    """About so many estimates of each gradient, ``[replicates, parameters]``."""
    number = scheme.num_particles
    # the estimates of one baseline are uncorrelated though it goes on learning; those of one chain or memory are not
    restarts = max(1, min(replicates, (AT_ONCE_NVIL if isinstance(scheme, helm.NVIL) else AT_ONCE) // number))
    turns = 1 if isinstance(scheme, KeepsStates) else math.ceil(replicates / restarts)
    many = replicated(net, restarts)
    warm_up(scheme, many, lessons)
    found: list[Layers] = []
    for _ in range(turns):
        step(scheme, many)
        found.append(by_layer(many.model, many.guide))
    return {key: torch.cat([layers[key] for layers in found]) for key in found[0]}


def warm_up(scheme: helm.Scheme, net: Net, lessons: int) -> None:
    """Let baselines learn, chains converge and memories fill at the parameters as they are."""
    if isinstance(scheme, helm.NVIL):
        for _ in range(lessons):
            scheme.restart_losses(net.model, net.guide, observations={"x": net.x})
    elif isinstance(scheme, helm.Gibbs):
        per_step, scheme.num_sweeps = scheme.num_sweeps, math.ceil(lessons / 4)
        scheme.loss(net.model, net.guide, observations={"x": net.x})
        scheme.num_sweeps = per_step
    elif isinstance(scheme, KeepsStates):
        for _ in range(math.ceil(lessons / 4)):
            scheme.loss(net.model, net.guide, observations={"x": net.x})


def step(scheme: helm.Scheme, net: Net) -> None:
    """Loss and backward pass, with new gradients in the place of the old."""
    net.model.zero_grad()
    net.guide.zero_grad()
    scheme.differentiable_loss(net.model, net.guide, observations={"x": net.x}).backward()


def chosen_labels(text: str) -> list[str]:
    """Names in the table, all or those that are asked for."""
    if text == "all":
        return list(VARIANTS)
    for label in text.split(","):
        if label not in VARIANTS:
            raise typer.BadParameter(unknown("scheme", label, VARIANTS), param_hint="--schemes")
    return text.split(",")


def schemes_of(labels: Sequence[str], num_particles: int) -> dict[str, helm.Scheme]:
    """Every variant that is defined for so many particles."""
    return {label: VARIANTS[label].make(num_particles) for label in labels if VARIANTS[label].least <= num_particles}


def milliseconds(
    labels: Sequence[str], particles: tuple[int, ...], net: Net, rounds: int
) -> dict[tuple[int, str], float]:
    """Median processor time of a step of each scheme with each number of particles, all of them taking turns."""
    schemes = {(number, label): scheme for number in particles for label, scheme in schemes_of(labels, number).items()}
    times: dict[tuple[int, str], list[float]] = {key: [] for key in schemes}
    with pyro.validation_enabled(False):
        for turn in range(rounds + 1):
            for key, scheme in schemes.items():
                began = time.process_time()
                step(scheme, net)
                if turn:
                    times[key].append(1e3 * (time.process_time() - began))
    return {key: median(each) for key, each in times.items()}


def measure(labels: Sequence[str], net: Net, num_particles: int, replicates: int, lessons: int) -> list[dict[str, Any]]:
    """One row per scheme, part and layer."""
    rows = []
    known: dict[str, Layers] = {}
    for label, scheme in schemes_of(labels, num_particles).items():
        pyro.set_rng_seed(0)
        with pyro.validation_enabled(False):
            drawn = estimates(scheme, net, replicates, lessons)
        for (part, layer), samples in drawn.items():
            target = VARIANTS[label].theta if part == "theta" else VARIANTS[label].phi
            if target not in known:
                known[target] = exact_gradients(target, net, scheme)
            row = {"scheme": label, "particles": num_particles, "part": part, "layer": layer, "target": target}
            rows.append({**row, **statistics(samples, known[target][part, layer])})
    return rows


def statistics(samples: Tensor, exact: Tensor) -> dict[str, Any]:
    """Bias and variance of estimates ``[replicates, parameters]`` of a gradient ``[1, parameters]``."""
    number = len(samples)
    errors = samples - exact
    covariance, mean = torch.cov(errors.T), errors.mean(0)
    variance, norm = float(covariance.trace()), float(exact.norm())
    # an unbiased estimate of the squared bias, and its variance for means that are normal
    squared = float(mean.square().sum()) - variance / number
    by_chance = 2 * float(covariance.square().sum()) / number**2
    bias = math.sqrt(max(squared, 0.0))
    spread = math.sqrt(by_chance + 4 * float(mean @ covariance @ mean) / number)
    return {
        "exact_norm": norm,
        "bias": bias,
        "bias_stderr": spread / (2 * max(bias, math.sqrt(spread / 2))),
        "bias_floor": math.sqrt(5 * math.sqrt(by_chance)),
        "relative_bias": bias / norm,
        "variance": variance,
        "snr": norm / math.sqrt(variance),
        "relative_variance": variance / norm**2,
        "replicates": number,
    }


# figure ---------------------------------------------------------------------------------------------------------------


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


if __name__ == "__main__":
    typer.run(main)
