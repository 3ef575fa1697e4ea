"""Every scheme that draws samples, with its settings, and what its gradients are set against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import typer

import pyro_helm as helm
from pyro_helm.runtime.suggestions import unknown


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
