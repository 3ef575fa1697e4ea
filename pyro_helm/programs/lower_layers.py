"""The lowest layers of a layered network, as a network of their own: what layer-by-layer training begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_helm.programs.layered import site_names, structure_of
from pyro_helm.runtime.device import placement


def lowest_layers(network: nn.Module, number: int) -> Any:
    """A network of the lowest layers, the visible one included, with this one's values.

    Its top layer keeps its leak, which stands for the layers above that are left out.

    Args:
        network: model or guide of the library's.
        number: of layers, at least 2.

    Raises:
        TypeError: for a program of which it is not known what its layers are.

    >>> whole = BeliefNetwork((32, 24, 2), "odds", restarts=8, seed=0)
    >>> lowest_layers(whole, 2).sizes
    (32, 24)
    """
    if structure_of(network) is None:
        raise TypeError(
            "only networks of this library, a BeliefNetwork and its recognition network, are trained layer by layer; "
            f"got a {type(network).__name__}"
        )
    config = _config_of(network, number)
    trunk = getattr(network, "trunk", None)
    part = type(network)(**config, **({} if trunk is None else {"trunk": trunk.module}), seed=0)
    part.to(**placement(network)).train(network.training)
    for own, whole in _pairs(part, network):
        own.copy_(whole)
    return part


def put_back(part: nn.Module, network: nn.Module) -> None:
    """Give a network the values of its lowest layers, which were trained apart.

    Args:
        part: that :func:`lowest_layers` made of it.
        network: its other values stay.

    """
    if getattr(part, "config", {}).get("missing"):
        network.learn_missing()  # type: ignore[operator]
    for own, whole in _pairs(part, network):
        whole.copy_(own)


def _config_of(network: Any, number: int) -> dict[str, Any]:
    """Arguments that make a network of the lowest layers."""
    num_layers, names = len(network.sizes), site_names(network.sizes[:number])

    def cut(value: Any) -> Any:
        if isinstance(value, tuple) and len(value) == num_layers:
            return value[:number]
        return {name: value[name] for name in names if name in value} if isinstance(value, Mapping) else value

    config = {name: cut(value) for name, value in network.config.items() if name != "trunk"}
    if "skip" in config:
        skip = {name: [above for above in further if above in names] for name, further in config["skip"].items()}
        config["skip"] = {name: further for name, further in skip.items() if further}
    if "lateral" in config and not any(config["lateral"]):
        del config["lateral"], config["blocks"]
    return {name: value for name, value in config.items() if value not in ({}, None)}


def _pairs(part: Any, network: Any) -> list[tuple[Tensor, Tensor]]:
    """Values of the lowest layers: those of the part, and where they are in the whole."""
    whole = network.state_dict()
    found = []
    for name, own in part.state_dict().items():
        there = whole[name]
        if there.shape == own.shape:
            found.append((own, there))
        else:  # weights of fewer causes
            level = int(name.split(".")[1])
            found += zip(
                own.unbind(-2), (there[..., row, :] for row in _causes_left(part, network, level)), strict=True
            )
    return found


def _causes_left(part: Any, network: Any, level: int) -> list[int]:
    """Of the causes of a layer, those that are in the part: of its layers, and the label."""
    widths = dict(zip(site_names(network.sizes), network.sizes, strict=True))
    name = site_names(network.sizes)[level]
    parts = [torch.full((widths[above],), above in part.parents[name]) for above in network.parents[name]]
    kept = torch.cat([*parts, torch.ones(network.condition or 0, dtype=torch.bool)])
    return kept.nonzero().flatten().tolist()
