"""Machines of a study: a line of text for the library's own, or a function for any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from pyro_helm.experiments.digests import named
from pyro_helm.guides import FactorialRecognition
from pyro_helm.layers import IMAGING
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.suggestions import unknown

Machine = tuple[nn.Module, nn.Module | None]
Builder = Callable[..., Machine]
"""From the width of the data, with ``seed`` and ``restarts`` by name, to a model and its guide."""

_EXPECTED = "expected a line such as 'odds 24-2', or module:name of a function of (width, seed, restarts)"


def builder_of(machine: Any, arguments: Mapping[str, Any]) -> Builder:
    """What builds the machines that a line of text or a function stands for.

    Args:
        machine: ``"IMAGING SIZES"``, where sizes are hidden layers unless the first is the width of the data; or
            ``"module:name"``; or a function of ``(width, seed, restarts)`` that returns model and guide.
        arguments: further ones of :class:`pyro_helm.BeliefNetwork`, or of the function.

    Raises:
        ValueError: for a line that is none, or an unknown imaging model or function.

    >>> model, guide = builder_of("odds 24-2", {"fixed_leak": 0.05})(32, seed=0, restarts=3)
    >>> model.sizes, model.imaging, guide.restarts
    ((32, 24, 2), ('odds', 'odds', 'odds'), 3)
    """
    if callable(machine):
        return partial(machine, **arguments)
    if not isinstance(machine, str):
        raise TypeError(f"machine is {machine!r:.60}, {_EXPECTED}")
    if ":" in machine:
        return partial(named(machine, "machine"), **arguments)
    imaging, _, sizes = machine.strip().partition(" ")
    units = [int(size) if size.isdecimal() and len(size) < 10 else 0 for size in sizes.strip().split("-")]
    if 0 in units:
        raise ValueError(f"machine {machine!r} is none; {_EXPECTED}")
    for layer in imaging.split("/"):
        if layer not in IMAGING:
            raise ValueError(unknown("imaging model", layer, IMAGING))
    return partial(_own_machine, tuple(units), imaging.split("/"), dict(arguments))


def belief_network(
    width: int, *, seed: int, restarts: int, sizes: list[int], imaging: str, fixed_leak: float | None
) -> Machine:
    """A belief network of these sizes, whatever the width of the data, and its factorial recognition network."""
    model = BeliefNetwork(sizes, imaging, restarts=restarts, fixed_leak=fixed_leak, seed=seed)
    return model, FactorialRecognition(sizes, restarts=restarts, seed=seed)


def _own_machine(
    units: tuple[int, ...], imaging: list[str], arguments: dict[str, Any], width: int, *, seed: int, restarts: int
) -> Machine:
    sizes = units if units[0] == width and len(units) > 1 else (width, *units)
    rules: Any = imaging[0] if len(imaging) == 1 else imaging
    model = BeliefNetwork(sizes, rules, restarts=restarts, seed=seed, **arguments)
    return model, FactorialRecognition(sizes, restarts=restarts, seed=seed)
