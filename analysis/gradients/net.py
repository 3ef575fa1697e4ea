"""The machine whose gradients are measured, small enough that all of its joint states can be summed over."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.data.bars import bars_distribution
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

SIZES = (9, 6, 4)

Layers = dict[tuple[str, str], Tensor]
"""Gradients by part (theta, phi) and layer, each ``[replicates, parameters]``."""


class Net(NamedTuple):
    """A machine and the data that its gradients are of."""

    model: BeliefNetwork
    guide: FactorialRecognition
    x: Tensor


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
