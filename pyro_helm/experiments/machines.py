"""Machines by their names: lines of text for those of the library and the user's own, or a function for any other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from pyro_helm.experiments.named_parts import made, maker_of, read_line
from pyro_helm.experiments.own_names import named
from pyro_helm.guides import GUIDES
from pyro_helm.layers import IMAGING
from pyro_helm.models import MODELS
from pyro_helm.runtime.arguments import checked_seed
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.runtime.suggestions import unknown
from pyro_helm.training.manifest import described

Machine = tuple[nn.Module, nn.Module | None]
Builder = Callable[..., Machine]
"""From the width of the data, with ``seed`` and ``restarts`` by name, to a model and its guide."""

MODEL, GUIDE, NO_GUIDE = "belief_network", "factorial_recognition", "none"
"""Where nothing else is asked for; and the name of no guide."""

_EXPECTED = "expected a line such as 'odds 24-2', or module:name of a function of (width, seed, restarts)"


def builder_of(machine: Any, arguments: Mapping[str, Any]) -> Builder:
    """What builds the machines that a line of text or a function stands for.

    Args:
        machine: ``"IMAGING SIZES"``, where sizes are hidden layers unless the first is the width of the data; or
            ``"module:name"``; or a function of ``(width, seed, restarts)`` that returns model and guide.
        arguments: of a line, ``model`` and ``guide`` as for :func:`machine_of`, and settings of the model; else of the
            function.

    Raises:
        ValueError: for a line that is none, or an unknown imaging model or function.

    >>> model, guide = builder_of("odds 24-2", {"guide": "lateral_recognition iterations=2"})(32, seed=0, restarts=3)
    >>> model.sizes, model.imaging, guide.iterations
    ((32, 24, 2), ('odds', 'odds', 'odds'), 2)
    """
    if callable(machine):
        return partial(machine, **arguments)
    if not isinstance(machine, str):
        raise TypeError(f"machine is {machine!r:.60}, {_EXPECTED}")
    if ":" in machine:
        return partial(named(machine, "machine"), **arguments)
    imaging, _, sizes = machine.strip().rpartition(" ")
    units = units_per_layer(sizes)
    if not units or not (imaging or "model" in arguments):
        raise ValueError(f"machine {machine!r} can't be read; {_EXPECTED}")
    rules = imaging.strip().split("/") if imaging else []
    for layer in rules:
        if layer not in IMAGING:
            raise ValueError(unknown("imaging model", layer, IMAGING))
    for part, known in (("model", MODELS), ("guide", GUIDES)):
        if arguments.get(part, NO_GUIDE) != NO_GUIDE:
            maker_of(read_line(arguments[part], part)[0], known, part)
    chosen: dict[str, Any] = {"imaging": rules[0] if len(rules) == 1 else rules} if rules else {}
    if chosen.keys() & arguments.keys():
        raise ValueError(f"machine {machine!r}: imaging is given twice, by the line and by the arguments")
    return partial(_of_line, units, **chosen, **arguments)


def units_per_layer(text: str) -> tuple[int, ...]:
    """Units per layer of a text such as ``32-24-2``; empty for a text that has none.

    >>> units_per_layer("24-2"), units_per_layer("24-0"), units_per_layer("a")
    ((24, 2), (), ())
    """
    # of more digits torch can't hold every number
    units = tuple(int(size) if size.isdecimal() and len(size) < 19 else 0 for size in text.split("-"))
    return () if 0 in units else units


def from_the_data_up(units: tuple[int, ...], width: int) -> tuple[int, ...]:
    """Units per layer, those of the data among them.

    Numbers are hidden layers, unless there are several and the first is the width of the data.

    >>> from_the_data_up((24, 2), 32), from_the_data_up((32, 24, 2), 32), from_the_data_up((24, 2), 64)
    ((32, 24, 2), (32, 24, 2), (64, 24, 2))
    """
    return units if units[0] == width and len(units) > 1 else (width, *units)


def is_made_of_parts(machine: str) -> bool:
    """Whether what a run's description says of its machine is a line or a function of this module."""
    ours = [described(belief_network), described(machine_of)]
    return machine in ours or re.fullmatch(r"(\S+ +)?\d+(-\d+)*", machine.strip()) is not None


def belief_network(
    width: int, *, seed: int, restarts: int, sizes: list[int], imaging: str, fixed_leak: float | None
) -> Machine:
    """A belief network of these sizes, whatever the width of the data, and its factorial recognition network."""
    return machine_of(width, seed=seed, restarts=restarts, sizes=sizes, imaging=imaging, fixed_leak=fixed_leak)


def machine_of(
    width: int,
    *,
    seed: int,
    restarts: int,
    sizes: Sequence[int] | None = None,
    model: str = MODEL,
    guide: str = GUIDE,
    **settings: Any,
) -> Machine:
    """A model and a guide by their names, of the library or ``module:name`` of the user's own.

    Each is made with ``sizes``, ``restarts`` and ``seed``, as far as it takes them by name, and its settings.

    Args:
        width: of the data.
        seed: of initial values.
        restarts: machines side by side.
        sizes: units per layer, bottom to top; None for ``(width,)``.
        model: name in :data:`pyro_helm.models.MODELS`, or ``module:name``, and settings.
        guide: name in :data:`pyro_helm.guides.GUIDES`, or ``module:name``, and settings; ``"none"`` for none.
        settings: more of the model; those that are None are left out.

    Raises:
        ValueError: for what can't be found or made, or takes no restarts where there are several.

    >>> model, guide = machine_of(16, seed=0, restarts=2, sizes=(16, 4), guide="autoregressive_recognition blocks=2")
    >>> type(guide).__name__, guide.restarts
    ('AutoregressiveRecognition', 2)
    """
    given = {"sizes": (width,) if sizes is None else tuple(sizes), "restarts": restarts, "seed": checked_seed(seed)}
    asked = {name: value for name, value in settings.items() if value is not None}
    made_model = _part(model, asked, MODELS, "model", given)
    return made_model, None if guide == NO_GUIDE else _part(guide, {}, GUIDES, "guide", given)


def _of_line(units: tuple[int, ...], width: int, *, seed: int, restarts: int, **arguments: Any) -> Machine:
    return machine_of(width, seed=seed, restarts=restarts, sizes=from_the_data_up(units, width), **arguments)


def _part(
    line: str, more: Mapping[str, Any], known: Mapping[str, Any], what: str, given: Mapping[str, Any]
) -> nn.Module:
    name, settings = read_line(line, what)
    twice = settings.keys() & more.keys()
    if twice:
        raise ValueError(f"{what} {line!r}: {', '.join(sorted(twice))} is given twice")
    with forked_rng(given["seed"], torch.device("cpu")):  # for one that takes no seed
        part: nn.Module = made(name, settings | dict(more), known, what, given=given, kind=nn.Module)
    if given["restarts"] > 1 and getattr(part, "restarts", 1) != given["restarts"]:
        raise ValueError(
            f"{what} {name} is one machine, but {given['restarts']} restarts were asked for; ask for one, or write it "
            "for several, with their number as its attribute restarts"
        )
    return part
