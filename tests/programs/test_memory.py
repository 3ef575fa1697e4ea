"""Memory: of each pair of programs apart, for as long as both live."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest

from pyro_helm.programs.memory import Memory


def test_pairs_are_kept_apart() -> None:
    def model() -> None: ...

    def guide() -> None: ...

    memory = Memory()
    memory.of(model, guide)["a"] = 1
    memory.of(model, None)["b"] = 2
    assert memory.of(model, guide) == {"a": 1}
    assert memory.of(model, None) == {"b": 2}
    assert memory.of(guide, model) == {}


def test_a_pair_is_forgotten_with_either_program() -> None:
    memory = Memory()

    def model() -> None: ...

    memory.of(model, guide := lambda: None)["a"] = 1
    del guide
    gc.collect()
    assert len(memory) == 0


def test_a_copy_remembers_the_same_and_learns_by_itself() -> None:
    def model() -> None: ...

    memory = Memory()
    memory.of(model, None)["a"] = [1]
    twin = copy.deepcopy(memory)
    twin.of(model, None)["a"].append(2)
    assert memory.of(model, None) == {"a": [1]}
    assert twin.of(model, None) == {"a": [1, 2]}


def test_programs_that_cannot_be_told_apart_are_refused() -> None:
    class Slotted:
        __slots__ = ()

        def __call__(self, *args: Any) -> None: ...

    with pytest.raises(TypeError, match="weak reference"):
        Memory().of(Slotted(), None)
