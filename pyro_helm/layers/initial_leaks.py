"""Where the learned leaks of a network begin: a low one begins with few causes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from pyro_helm.layers.imaging import Imaging
from pyro_helm.runtime.arguments import number


def per_layer(name: str, value: Any, num_layers: int) -> tuple[Any, ...]:
    """One value for all layers, or one for each, as one for each."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != num_layers:
            raise ValueError(f"{name} must be one value or {num_layers}, one per layer; got {len(value)}: {value!r}")
        return tuple(value)
    return (value,) * num_layers


def begin_leaks(layers: Iterable[Imaging], leaks: Any, *, name: str = "initial_leak") -> None:
    """Put learned leaks where they are to begin, the same in every unit and restart.

    Args:
        layers: whose leaks these are.
        leaks: one for all layers that learn one, or one per layer, each as the layer's imaging model has it: a logit, a
            probability, odds. None leaves a leak where it is.
        name: of the argument.

    Raises:
        ValueError: for a leak out of range, or of a layer that learns none.

    """
    layers = list(layers)
    is_for_all = not isinstance(leaks, Sequence)
    for layer, leak in zip(layers, per_layer(name, leaks, len(layers)), strict=True):
        if leak is None or (is_for_all and layer.learned_leak is None):
            continue
        if layer.learned_leak is None:
            units = layer.num_units
            raise ValueError(f"{name} is {leak} for a layer of {units} units that learns no leak; give None for it")
        drive = layer.drive_of_leak(number(name, leak))
        layer.learned_leak = torch.full_like(layer.learned_leak.detach(), drive)
    if is_for_all and leaks is not None and all(layer.learned_leak is None for layer in layers):
        raise ValueError(f"{name} is {leaks}, but no layer learns a leak")
