"""What a scheme remembers of the programs that it is used on, for as long as they live."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from pyro_helm.particles import Program


class Memory:
    """A dictionary for each pair of model and guide, gone when either of the two is.

    >>> memory = Memory()
    >>> memory.of(print, len)["steps"] = 3
    >>> memory.of(print, len), memory.of(print, None)
    ({'steps': 3}, {})
    """

    def __init__(self) -> None:
        self._of_models: WeakKeyDictionary[Any, WeakKeyDictionary[Any, dict[Any, Any]]] = WeakKeyDictionary()

    def of(self, model: Program, guide: Program | None) -> dict[Any, Any]:
        """What is remembered of this pair; of a model without a guide if that is None.

        Raises:
            TypeError: for a program that can't be told from others while it lives: use a function or a module.

        """
        return self._of_models.setdefault(model, WeakKeyDictionary()).setdefault(_none if guide is None else guide, {})


def _none() -> None:
    """Stand for no guide, which None could not, since it can't be referred to weakly."""
