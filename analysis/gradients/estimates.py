"""Independent replicates of the gradient that a scheme estimates, and how they compare with the exact one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import pyro_helm as helm
from analysis.gradients.net import SIZES, Layers, Net, by_layer
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes.states_of_data import KeepsStates

AT_ONCE = 2500
"""Particles per datum of all replicates in one backward pass."""
AT_ONCE_NVIL = 250
"""Likewise, where every replicate has baselines of its own."""


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
