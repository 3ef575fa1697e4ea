"""The exact posterior of a case beside what recognition says of it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyro_helm.experiments.plots.pages import checked_shape
from pyro_helm.experiments.plots.recognition_means import recognised
from pyro_helm.likelihoods import Posterior
from pyro_helm.programs.particles import Program
from pyro_helm.runtime.arguments import is_whole
from pyro_helm.runtime.figures import axes_of, figure_of
from pyro_helm.runtime.pictures import COLOURS

NAMED = 40
"""Units up to which every one is named."""


def posterior_chart(
    posterior: Posterior,
    guide: Program,
    *,
    datum: int = 0,
    restart: int = 0,
    image_shape: tuple[int, int] | None = None,
    num_draws: int = 1000,
    seed: int = 0,
    ax: Axes | None = None,
) -> Figure:
    """Draw the probability that each hidden unit is on: bars by the exact posterior, dots by recognition.

    Of a Categorical site it is the probability of each value.

    Args:
        posterior: what :func:`pyro_helm.exact_posterior` gave.
        guide: the guide to set beside it.
        datum: which of its data.
        restart: which restart.
        image_shape: rows and columns of the image that the units make, to show the case beside; None for no image.
        num_draws: draws of recognition, whose probabilities are averaged.
        seed: of the draws.
        ax: where to draw; None for a figure of its own.

    Raises:
        ValueError: for a datum or restart that there is not, or a site that the guide has in another shape.

    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> posterior = exact_posterior(model, guide, load_data("bars").test[:3])
    >>> figure = posterior_chart(posterior, guide, datum=2)
    """
    restarts, num_data = posterior.log_likelihood.shape
    for name, value, number in (("datum", datum, num_data), ("restart", restart, restarts)):
        if not is_whole(value) or not 0 <= value < number:
            raise ValueError(f"{name} must be from 0 to {number - 1}, got {value!r}")
    x = posterior.data[datum : datum + 1]
    units = recognised(posterior.model, guide, x, restart=restart, num_draws=num_draws, seed=seed).units
    ax = axes_of(ax, (8.0, 3.2))
    start, ticks, labels = 0.0, [], []
    for order, (name, marginal) in enumerate(posterior.marginals.items()):
        exact, ours = marginal[restart, datum].cpu().numpy().ravel(), units[name].numpy().ravel()
        if exact.shape != ours.shape:
            raise ValueError(
                f"site {name!r} has {exact.size} probabilities in the posterior and {ours.size} in the guide"
            )
        places = start + np.arange(len(exact))
        colour = COLOURS[order % len(COLOURS)]
        ax.bar(places, exact, width=0.8, color=colour, alpha=0.45, label=f"{name}, exact posterior")
        ax.plot(places, ours, "o", color="black", markersize=4, label="recognition" if order == 0 else None)
        ax.text(places.mean(), 1.03, name, ha="center", fontsize=9, color=colour)
        ticks += places.tolist()
        labels += [str(unit) for unit in range(len(exact))]
        start = places[-1] + 2.0
    ax.set(ylim=(0, 1.12), xlim=(-1, start - 1), ylabel="probability of being on", xlabel="hidden unit")
    ax.set_xticks(ticks if len(ticks) <= NAMED else [], labels if len(ticks) <= NAMED else [], fontsize=7)
    log_p, kl = float(posterior.log_likelihood[restart, datum]), posterior.kl
    gap = "" if kl is None else f", KL of recognition from the posterior {float(kl[restart, datum]):.2f} nats"
    ax.set_title(f"Case {datum}: log p(x) = {log_p:.2f}{gap}", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.3))
    if image_shape is not None:
        _show_case(ax, x[0].cpu(), image_shape)
    ax.spines[["top", "right"]].set_visible(False)
    return figure_of(ax)


def _show_case(ax: Axes, x: Tensor, image_shape: tuple[int, int]) -> None:
    """The case as a small image above the legend."""
    inset = ax.inset_axes((1.03, 0.58, 0.16, 0.42))
    inset.imshow(x.reshape(checked_shape(image_shape, x.numel())).numpy(), cmap="gray_r", vmin=0, vmax=1)
    inset.set(xticks=[], yticks=[])
