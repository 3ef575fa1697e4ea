"""Draw the surface -F(theta, Q) with the paths of two learners (Fig. 2 of Dayan, Hinton, Neal & Zemel 1995).

    python -m analysis.paper.free_energy_surface --out results/paper

The machine is ``BeliefNetwork((3, 2))`` with one free parameter theta, the weight of every connection, and data whose
causes explain one another away. All is computed by enumeration; one restart of the network is one theta. Writes
``OUT/fig2_surface.png``.

A plane holds theta and one number for Q, so Q is indexed by the theta that it recognises best: ``Q_lambda`` is the
posterior ``P_lambda(h | d)``, or the factorial Q nearest to it (least KL(Q || P_lambda)), which is what recognition
weights phi can express. An E step, Q's best answer to theta, is then ``lambda = theta``, and both learners stay in
their plane exactly.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyro
import torch
import typer
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from pyro import poutine
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from pyro_helm.experiments import plots
from pyro_helm.models import BeliefNetwork

CAPTION = (
    r"$-F(\theta,Q)$ of a machine with {units} visible units and {causes} causes; $\theta$ is the weight of every "
    r"connection, and $Q$ is indexed by the $\theta$ that it answers best, so that both paths lie exactly in their "
    r"planes. Left: EM. An E step moves straight up to the ridge $Q=P_\theta$, where $-F=\log p(d|\theta)$, an M "
    r"step across to the best $\theta$ for that $Q$; it climbs to the top of the likelihood, {em_value:.3f} nats at "
    r"$\theta={em_theta:.2f}$. Middle: recognition weights $\phi$ take the causes for independent given $d$, though "
    r"one explains the other away; the same steps climb a lower ridge and end at {constrained_value:.3f} nats and "
    r"$\theta={constrained_theta:.2f}$, where $\log p$ is {constrained_log_p:.3f}, {loss:.3f} below its top. A "
    r"Helmholtz machine ascends that surface by conjugate gradient (black), in $\theta$ and $Q$ together, and ends at "
    r"{gradient_value:.3f} nats and $\theta={gradient_theta:.2f}$. Right: "
    r"both ridges against $\theta$; a thin curve is $-F$ at one $Q$, touches its ridge at the E step, and is climbed "
    r"(black) by the M step, after which an E step lifts it to the ridge again."
)
PATTERNS = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=torch.float64)
WEIGHTS = torch.tensor([3, 4, 4, 4], dtype=torch.float64) / 15
CAUSES = 2
LEAK = -3.0
THETAS = (0.8, 6.2)
START = 1.6
EM, CONSTRAINED = "#0072B2", "#D55E00"
DEPTH = 1.2  # nats below the top that are drawn
SHOWN_STEPS = 5


Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)  # eq: comparing arrays gives no single truth value
class Path2D:
    """Alternating maximisation from a start: theta, the Q that answers it, and -F after each step, nats per datum."""

    theta: Array  # [steps + 1]
    q: Tensor  # [steps + 1, data, states]
    after_e: Array  # [steps + 1]
    after_m: Array  # [steps]


@dataclass(frozen=True, eq=False)
class Landscape:
    """-F over theta and Q, nats per datum: a plane in which Q is free and one in which it is constrained."""

    theta: Array  # [thetas]
    joint: Tensor  # [thetas, data, states]
    log_p: Array  # [thetas]
    free: Array  # [lambdas, thetas]
    constrained: Array  # [lambdas, thetas]
    em: Path2D
    constrained_em: Path2D
    gradient: Array  # [iterations + 1, 2], theta and lambda of conjugate gradient on the constrained plane


def log_joint(theta: Tensor) -> Tensor:
    """``log p(d, h | theta)``, ``[thetas, data, states]``, traced from the network with one restart per theta."""
    model = BeliefNetwork(
        (PATTERNS.shape[1], CAUSES), "sigmoid", restarts=len(theta), fixed_leak=(LEAK, None), learned_leak=False
    ).double()
    model.generative[0].weight = theta[:, None, None].expand(-1, CAUSES, PATTERNS.shape[1]).clone()
    states = torch.cartesian_prod(*[torch.tensor([0, 1], dtype=torch.float64)] * CAUSES)
    pairs = {
        "x": PATTERNS.repeat_interleave(len(states), 0),
        "h1": states.repeat(len(PATTERNS), 1),
    }
    with torch.no_grad(), pyro.validation_enabled(False):
        trace = poutine.trace(poutine.condition(model, pairs)).get_trace(num_data=len(pairs["x"]))
        trace.compute_log_prob()
        total: Tensor = trace.nodes["x"]["log_prob"] + trace.nodes["h1"]["log_prob"]
    return total.reshape(len(theta), len(PATTERNS), len(states))


def posterior(joint: Tensor) -> Tensor:
    """The best Q of all, ``p(h | d)``, from ``log p(d, h)`` of the same shape ``[..., data, states]``."""
    return joint.softmax(-1)


def factorial(joint: Tensor, *, sweeps: int = 400) -> Tensor:
    """The best Q under which the two causes are independent, ``[..., data, states]``.

    Coordinate ascent, each cause's best answer to the other in turn, from several starts, of which the best end stays.
    """
    table = joint[..., None, :].unflatten(-1, (2, 2))  # [..., data, starts, h_1, h_2]
    first, second = torch.cartesian_prod(*[torch.tensor([0.02, 0.5, 0.98], dtype=torch.float64)] * 2).unbind(-1)
    gain_1, gain_2 = table[..., 1, :] - table[..., 0, :], table[..., :, 1] - table[..., :, 0]
    for _ in range(sweeps):
        first = torch.sigmoid(gain_1[..., 0] * (1 - second) + gain_1[..., 1] * second)
        second = torch.sigmoid(gain_2[..., 0] * (1 - first) + gain_2[..., 1] * first)
    pair = [torch.stack([1 - q, q], -1) for q in (first, second)]
    q = (pair[0][..., :, None] * pair[1][..., None, :]).flatten(-2)  # [..., data, starts, states]
    best = bound_per_datum(joint[..., None, :], q).argmax(-1)
    chosen: Tensor = q.take_along_dim(best[..., None, None], -2)[..., 0, :]
    return chosen


def bound_per_datum(joint: Tensor, q: Tensor) -> Tensor:
    """``-F = E_q[log p(d, h)] + entropy of q`` in nats, states summed out."""
    terms: Tensor = q * joint + torch.special.entr(q)
    return terms.sum(-1)


def bound(joint: Tensor, q: Tensor) -> Tensor:
    """-F in nats per datum, ``[...]``: the mean over data of :func:`bound_per_datum`."""
    return bound_per_datum(joint, q) @ WEIGHTS


def climb(best_q: Callable[[Tensor], Tensor], start: float = START, *, gain: float = 1e-6) -> Path2D:
    """Alternate E steps (Q = ``best_q`` of the log joint) and M steps (theta) until both together gain less."""
    theta, q, after_e, after_m = [start], [best_q(_joint_at(start))], [], []
    after_e.append(float(bound(_joint_at(start), q[0])))
    while len(after_e) < 2 or after_e[-1] - after_e[-2] > gain:
        theta.append(best_theta(q[-1]))
        after_m.append(float(bound(_joint_at(theta[-1]), q[-1])))
        q.append(best_q(_joint_at(theta[-1])))
        after_e.append(float(bound(_joint_at(theta[-1]), q[-1])))
    return Path2D(np.array(theta), torch.stack(q), np.array(after_e), np.array(after_m))


def best_theta(q: Tensor) -> float:
    """M step: the theta that maximises -F at this Q ``[data, states]``, in which it is concave."""
    done = minimize_scalar(
        lambda theta: -float(bound(_joint_at(theta), q)), bounds=THETAS, method="bounded", options={"xatol": 1e-9}
    )
    return float(done.x)


def _joint_at(theta: float) -> Tensor:
    return log_joint(torch.tensor([theta], dtype=torch.float64))[0]


def ascend() -> Array:
    """Conjugate gradient on the constrained plane from the common start: theta and lambda of every iteration."""

    def height(place: Array) -> float:
        q = factorial(_joint_at(float(place[1])), sweeps=100)
        return float(bound(_joint_at(float(place[0])), q))

    path = [np.array([START, START])]
    minimize(lambda place: -height(place), path[0], method="CG", callback=lambda place: path.append(place.copy()))
    return np.array(path)


def landscape(num: int = 161) -> Landscape:
    """Compute both planes on a grid of ``num`` values of theta and of lambda, the ridges and the two paths."""
    theta = torch.linspace(*THETAS, num, dtype=torch.float64)
    joint = log_joint(theta)
    free, constrained = (bound(joint, best_q(joint)[:, None]) for best_q in (posterior, factorial))
    return Landscape(
        theta=theta.numpy(),
        joint=joint,
        log_p=(joint.logsumexp(-1) @ WEIGHTS).numpy(),
        free=free.numpy(),
        constrained=constrained.numpy(),
        em=climb(posterior),
        constrained_em=climb(factorial),
        gradient=ascend(),
    )


def figure_of(land: Landscape) -> Figure:
    """Draw the two planes as contour maps, each with its path, and both ridges along theta."""
    figure = Figure(figsize=(14.5, 6.1), layout="constrained")
    free, constrained, profile = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
    draw_plane(free, land, land.free, land.em, EM)
    free.set(title="$Q$ free: EM", ylabel=r"$Q$, by the $\theta$ whose posterior it is")
    free.legend(loc="lower right", fontsize=9, facecolor="0.65", framealpha=0.9)
    mappable = draw_plane(constrained, land, land.constrained, land.constrained_em, CONSTRAINED)
    constrained.set(title=r"$Q(\phi)$, causes independent: Helmholtz machine")
    constrained.set(ylabel=r"$Q(\phi)$, by the $\theta$ to which it is nearest")
    constrained.plot(*land.gradient.T, ".-", color="black", linewidth=1.3, markersize=5, label="conjugate gradient")
    constrained.legend(loc="lower right", fontsize=9, facecolor="0.65", framealpha=0.9)
    figure.colorbar(mappable, ax=[free, constrained], label="$-F$, nats per datum", shrink=0.75, format="%.2f")
    draw_profile(profile, land)
    figure.supxlabel(textwrap.fill(caption(land), 215), x=0.02, ha="left", fontsize=9.5)
    return figure


def draw_plane(ax: Axes, land: Landscape, plane: Array, path: Path2D, colour: str) -> QuadContourSet:
    """Draw -F over theta and lambda, its ridge, where lambda is theta, and a path of M steps across and E steps up."""
    top = float(land.log_p.max())
    levels = np.linspace(top - DEPTH, top, 25)
    filled = ax.contourf(land.theta, land.theta, plane, levels, cmap="cividis", extend="min")
    ax.contour(land.theta, land.theta, plane, levels[::2], colors="white", linewidths=0.5, linestyles="-", alpha=0.6)
    ax.plot(land.theta, land.theta, "--", color="white", linewidth=1.4, label=r"ridge: best $Q$ for $\theta$")
    corners = np.repeat(path.theta, 2)
    halo = [withStroke(linewidth=4.5, foreground="white")]
    ax.plot(corners[1:], corners[:-1], color=colour, linewidth=2.2, path_effects=halo, label="M across, E up")
    ax.plot(path.theta[0], path.theta[0], "o", color=colour, markeredgecolor="white", markersize=9, label="start")
    ax.plot(path.theta[-1], path.theta[-1], "*", color=colour, markeredgecolor="white", markersize=17, label="end")
    ax.set(xlabel=r"$\theta$, the generative weight", aspect="equal")
    return filled


def draw_profile(ax: Axes, land: Landscape) -> None:
    """Draw both ridges along theta, with -F at the Q of each E step, which the M step climbs."""
    ridges = (land.log_p, land.constrained.diagonal())
    labels = (r"$\log p(d|\theta)$: best of every $Q$", r"best of the $Q(\phi)$")
    paths, offsets = (land.em, land.constrained_em), ((0, 12), (-52, 2))  # of the names of the ends, in points
    for path, ridge, colour, label, offset in zip(paths, ridges, (EM, CONSTRAINED), labels, offsets, strict=True):
        for q in path.q[:SHOWN_STEPS]:
            ax.plot(land.theta, bound(land.joint, q), color=colour, linewidth=0.7)
        ax.plot(land.theta, ridge, color=colour, linewidth=2.8, label=label)
        for begin, end, q in zip(path.theta[:-1], path.theta[1:], path.q[:-1], strict=True):
            span = torch.linspace(begin, end, 50, dtype=torch.float64)
            ax.plot(span, bound(log_joint(span), q), color="black", linewidth=1.6)
        ax.vlines(path.theta[1:], path.after_m, path.after_e[1:], color="black", linewidth=1.6)
        ax.plot(path.theta[:-1], path.after_e[:-1], "o", color=colour, markersize=6, markeredgecolor="white")
        ax.plot(path.theta[-1], path.after_e[-1], "*", color=colour, markeredgecolor="white", markersize=17)
        ax.annotate(
            rf"$\theta$ = {path.theta[-1]:.2f}" + f"\n{path.after_e[-1]:.3f} nats", (path.theta[-1], path.after_e[-1]),
            offset, textcoords="offset points", ha="center", color=colour, weight="bold",
        )  # fmt: skip
    top = float(land.log_p.max())
    ax.set(ylim=(top - DEPTH, top + 0.13 * DEPTH), xlim=THETAS)
    ax.set(title="Along both ridges", xlabel=r"$\theta$, the generative weight", ylabel="nats per datum")
    ax.legend(fontsize=10, loc="lower center", framealpha=1)
    ax.grid(alpha=0.25)


def caption(land: Landscape) -> str:
    """The caption, its numbers read from the landscape."""
    end = float(land.constrained_em.theta[-1])
    log_p = float(_joint_at(end).logsumexp(-1) @ WEIGHTS)
    return CAPTION.format(
        units=PATTERNS.shape[1],
        causes=CAUSES,
        em_theta=land.em.theta[-1],
        em_value=land.em.after_e[-1],
        constrained_theta=end,
        constrained_value=land.constrained_em.after_e[-1],
        constrained_log_p=log_p,
        gradient_theta=land.gradient[-1, 0],
        gradient_value=float(bound(_joint_at(land.gradient[-1, 0]), factorial(_joint_at(land.gradient[-1, 1])))),
        loss=land.em.after_e[-1] - log_p,
    )


def draw(out: Path, *, quick: bool = False) -> Path:
    """Write ``out/fig2_surface.png``, on a coarse grid if quick, and return its path."""
    path = out / "fig2_surface.png"
    plots.save_figure(figure_of(landscape(41 if quick else 161)), path)
    return path


def main(
    out: Annotated[Path, typer.Option(help="Folder for the figure.")] = Path("results/paper"),
    quick: Annotated[bool, typer.Option("--quick", help="A coarse grid.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Draw the figure and print its path."""
    torch.set_num_threads(threads)
    typer.echo(draw(out, quick=quick))


if __name__ == "__main__":
    typer.run(main)
