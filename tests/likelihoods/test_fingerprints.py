"""Fingerprints: the same for the same thing, another for whatever could change a number."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from torch import nn
from torch.distributions import constraints

from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods import mixed_with_prior, prior, tempered
from pyro_helm.likelihoods.fingerprints import fingerprint
from pyro_helm.models import BeliefNetwork

SCALE = 2.0


@dataclass
class Shifted:
    """A callable object."""

    by: float

    def __call__(self, value: float) -> float:
        return value + self.by

    def twice(self, value: float) -> float:
        return value + 2 * self.by


def written(source: str) -> Callable[..., Any]:
    """A function of this source, always of the same name."""
    found: dict[str, Any] = {}
    exec(f"def program(x{source}", found)
    program: Callable[..., Any] = found["program"]
    return program


def closed_over(value: Any) -> Callable[[], Any]:
    return lambda: value


def net(constraint: Any) -> pyro.nn.PyroModule:
    module = pyro.nn.PyroModule("net")
    module.weight = pyro.nn.PyroParam(torch.ones(2), constraint)
    module.weight_unconstrained.data.zero_()
    return module


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = value


BASE = BeliefNetwork((4, 3), seed=0)
GUIDE = FactorialRecognition((4, 3), seed=0)
OTHER = BeliefNetwork((4, 3), "odds", seed=0)
OTHER.load_state_dict(BASE.state_dict())


def with_attribute(**attributes: Any) -> Any:
    """An object of a class of the user's own, always of the same name, with these attributes of the class."""
    base = type("Base", (), {**attributes, "__module__": "users_own", "__qualname__": "Base"})
    return type("Program", (base,), {"__module__": "users_own", "__qualname__": "Program"})()


def of_module(source: str) -> Callable[..., Any]:
    """A function that reaches into a module of the user's own."""
    settings = ModuleType("users_settings")
    exec(source, vars(settings))
    found: dict[str, Any] = {"settings": settings}
    exec("def program(x): return read(settings, x)\ndef read(where, x): return where.SCALE * x", found)
    program: Callable[..., Any] = found["program"]
    return program


def shadowing(value: Any) -> Callable[..., Any]:
    """A function that finds a global of the name of a built-in."""
    found: dict[str, Any] = {"sum": value}
    exec("def program(x): return sum", found)
    program: Callable[..., Any] = found["program"]
    return program


def marked(value: float) -> Callable[..., Any]:
    program = written("): return program.scale * x")
    program.scale = value  # type: ignore[attr-defined]
    return program


def hooked(factor: float) -> nn.Module:
    module = nn.Identity()
    module.register_forward_hook(lambda *arguments: factor * arguments[2])
    return module


DIFFERENT: Mapping[str, tuple[Any, Any]] = {
    "values": (torch.zeros(2), torch.ones(2)),
    "shapes": (torch.zeros(2), torch.zeros(2, 1)),
    "types": (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
    "nothing": (None, torch.zeros(2)),
    "numbers": (1, 1.0),
    "arrays": (np.zeros(2), np.ones(2)),
    "lists": ([1, [2]], [1, [3]]),
    "lists and tuples": ([1, 2], (1, 2)),
    "mappings": ({"a": 1}, {"a": 2}),
    "sets": ({1, 2}, {1, 3}),
    "imaging, with equal parameters": (BASE, OTHER),
    "leaks, with equal parameters": (
        BeliefNetwork((4, 3), fixed_leak=-1.0, seed=0),
        BeliefNetwork((4, 3), fixed_leak=-2.0, seed=0),
    ),
    "constraints, with equal parameters": (net(constraints.positive), net(constraints.greater_than(1.0))),
    "modes": (nn.Dropout(0.5).train(), nn.Dropout(0.5).eval()),
    "settings of modules": (nn.Dropout(0.5), nn.Dropout(0.4)),
    "partial arguments": (partial(closed_over, 1), partial(closed_over, 2)),
    "partial keywords": (partial(closed_over, value=1), partial(closed_over, value=2)),
    "callable objects": (Shifted(1.0), Shifted(2.0)),
    "slots": (Slotted(1.0), Slotted(2.0)),
    "bound methods": (Shifted(1.0).twice, Shifted(2.0).twice),
    "methods of one object": (Shifted(1.0).twice, Shifted(1.0).__call__),
    "code": (written("): return x + x"), written("): return x * x")),
    "constants": (written("): return x + 1"), written("): return x + 2")),
    "names": (written("): return x.sin()"), written("): return x.cos()")),
    "defaults": (written(", y=1): return x"), written(", y=2): return x")),
    "keyword defaults": (written(", *, y=1): return x"), written(", *, y=2): return x")),
    "functions written inside": (written("): return (lambda: 1)()"), written("): return (lambda: 2)()")),
    "closures": (closed_over(1), closed_over(2)),
    "closures over modules": (closed_over(BASE), closed_over(OTHER)),
    "temperatures": (tempered(GUIDE, temperature=2.0), tempered(GUIDE, temperature=3.0)),
    "handlers": (prior(BASE), pyro.poutine.scale(BASE, 2.0)),
    "scales": (pyro.poutine.scale(BASE, 3.0), pyro.poutine.scale(BASE, 2.0)),
    "lists of a class": (with_attribute(scales=[1.0]), with_attribute(scales=[2.0])),
    "mappings of a class": (with_attribute(scales={"a": 1.0}), with_attribute(scales={"a": 2.0})),
    "tensors of a class": (with_attribute(scale=torch.ones(1)), with_attribute(scale=torch.zeros(1))),
    "modules of a class": (with_attribute(net=nn.Dropout(0.5)), with_attribute(net=nn.Dropout(0.4))),
    "static methods": (
        with_attribute(f=staticmethod(written("): return 1"))),
        with_attribute(f=staticmethod(written("): return 2"))),
    ),
    "constants of a module": (of_module("SCALE = 2.0"), of_module("SCALE = 3.0")),
    "functions of a module": (of_module("def SCALE(x): return x"), of_module("def SCALE(x): return -x")),
    "globals that shadow": (shadowing(1), shadowing(2)),
    "attributes of functions": (marked(1.0), marked(2.0)),
    "hooks": (hooked(1.0), hooked(2.0)),
    "cached functions": (lru_cache(written("): return x + 1")), lru_cache(written("): return x + 2"))),
    "handled programs": (prior(BASE), prior(OTHER)),
    "shares": (mixed_with_prior(BASE, GUIDE, prior_weight=0.1), mixed_with_prior(BASE, GUIDE, prior_weight=0.2)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_it_tells_apart(what: str) -> None:
    one, other = DIFFERENT[what]
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(other)


def test_it_is_the_same_for_the_same() -> None:
    assert fingerprint(BeliefNetwork((4, 3), seed=0)) == fingerprint(BeliefNetwork((4, 3), seed=0))
    assert fingerprint(Shifted(1.0).twice) == fingerprint(Shifted(1.0).twice)
    assert fingerprint(tempered(GUIDE, temperature=2.0)) == fingerprint(tempered(GUIDE, temperature=2.0))
    assert fingerprint({"a", "b", "c"}) == fingerprint({"c", "b", "a"})


def test_globals_that_a_function_uses_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(x: float) -> float:
        return SCALE * x

    before = fingerprint(program)
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    assert fingerprint(program) != before


def test_the_parameter_store_counts() -> None:
    before = fingerprint(1)
    pyro.param("a", torch.ones(1))
    assert fingerprint(1) != before
    pyro.clear_param_store()


def test_what_refers_to_itself_comes_to_an_end() -> None:
    def again(number: int) -> int:
        return 0 if number == 0 else again(number - 1)

    looped: list[Any] = [1]
    looped.append(looped)
    assert fingerprint(again, looped) == fingerprint(again, looped)


def test_another_process_finds_the_same() -> None:
    source = (
        "from pyro_helm.likelihoods import mixed_with_prior\n"
        "from pyro_helm.likelihoods.fingerprints import fingerprint\n"
        "from pyro_helm.guides import FactorialRecognition\n"
        "from pyro_helm.models import BeliefNetwork\n"
        "model, guide = BeliefNetwork((4, 3), seed=0), FactorialRecognition((4, 3), seed=0)\n"
        "print(fingerprint(mixed_with_prior(model, guide), {'a', 'b', 'c'}))"
    )
    shown = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == fingerprint(mixed_with_prior(BASE, GUIDE), {"a", "b", "c"})


def test_what_can_not_be_told_apart_is_refused() -> None:
    for unknown in (
        Lock(),
        with_attribute(lock=Lock()),
        of_module("import threading; SCALE = threading.Lock()"),
        (number for number in range(3)),
        closed_over(Lock()),
    ):
        with pytest.raises(ValueError, match=r"can't tell whether .* is the same as in an earlier run"):
            fingerprint(unknown)
