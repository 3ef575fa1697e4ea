"""What a scheme remembers of the programs that it is used on, for as long as they live."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any
from weakref import ref

import torch
from pyro.poutine.messenger import Messenger

from pyro_helm.programs.particles import Program


class Memory:
    """A dictionary for each pair of model and guide, gone when either of the two is.

    A program is known again by itself, a method by the object that it belongs to and its name. A copy remembers the
    same and goes on by itself. What is pickled or loaded belongs to no program yet: the first pair that comes takes it.

    Args:
        owner: name of the scheme whose memory it is, for its sentences. With one, programs that are made anew at every
            step are refused, since what was learned with them could never be found again.

    >>> memory = Memory()
    >>> memory.of(print, len)["steps"] = 3
    >>> memory.of(print, len), memory.of(print, None)
    ({'steps': 3}, {})
    """

    def __init__(self, owner: str | None = None) -> None:
        self.owner = owner
        self._records: list[_Record] = []
        self._loaded: dict[Any, Any] | None = None
        self._last_made: dict[Any, _LastMade] = {}

    def __len__(self) -> int:
        """Pairs of programs that something is remembered of."""
        return len(self._records) + (self._loaded is not None)

    def of(self, model: Program, guide: Program | None) -> dict[Any, Any]:
        """What is remembered of this pair; of a model without a guide if that is None.

        Raises:
            TypeError: for a program that can't be told from others while it lives: use a function or a module.
            ValueError: in training, for a program that is made anew at every step.

        """
        programs = (_identity(model), _identity(_none if guide is None else guide))
        for record in self._records:
            if record.is_of(programs):
                self._check_that_they_last(model, guide)
                return record.kept
        self._check_that_they_last(model, guide)
        kept, self._loaded = {} if self._loaded is None else self._loaded, None
        self._add(programs, kept)
        return kept

    def only(self) -> dict[Any, Any]:
        """What is remembered of the one pair in use; nothing before the first.

        Raises:
            ValueError: for several pairs, of which nothing outside this process could tell which is which.

        """
        kept = [record.kept for record in self._records] + ([] if self._loaded is None else [self._loaded])
        if len(kept) > 1:
            raise ValueError(
                f"{self.owner or 'a memory'} remembers {len(kept)} pairs of model and guide, but only that of one can "
                "be saved, pickled or sent elsewhere; use one scheme for each pair"
            )
        return kept[0] if kept else {}

    def load(self, kept: dict[Any, Any]) -> None:
        """Forget all pairs; the next one asked about takes this."""
        self._records.clear()
        self._loaded = kept or None

    def _add(self, programs: tuple[_Identity, _Identity], kept: dict[Any, Any]) -> None:
        record = _Record(*programs, kept)
        records = self._records
        records.append(record)

        def forget(_: Any) -> None:
            if record in records:
                records.remove(record)

        record.watches = [ref(program.owner(), forget) for program in programs]

    def _check_that_they_last(self, *programs: Program | None) -> None:
        if self.owner is None or not torch.is_grad_enabled():
            return
        for role, program in zip(("model", "guide"), programs, strict=True):
            source = None if program is None else _source(program)
            if source is None:
                continue
            before, itself = self._last_made.get((role, source)), _identity(program).owner
            if before is not None and before.program() is not None and before.program() is itself():
                before.times += 1
                continue
            if before is not None and before.program() is None and before.times == 1:
                raise ValueError(
                    f"{self.owner} keeps what it has learned with the {role}, but this {role} is made anew at every "
                    "step (a lambda, a partial or what a handler returns). Make it once and pass it every time; or "
                    "pass a module or a method of one, with handlers as contexts around the scheme"
                )
            self._last_made[role, source] = _LastMade(itself)

    def __deepcopy__(self, memo: dict[int, Any]) -> Memory:
        twin = Memory(self.owner)
        memo[id(self)] = twin
        twin._loaded = copy.deepcopy(self._loaded, memo)
        for record in self._records:
            # of the programs that are being copied as well, the copies
            programs = [
                _Identity(ref(memo.get(id(p.owner()), p.owner())), p.name) for p in (record.model, record.guide)
            ]
            twin._add((programs[0], programs[1]), copy.deepcopy(record.kept, memo))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {"owner": self.owner, "kept": self.only()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Memory.__init__(self, state["owner"])
        self.load(state["kept"])


@dataclass(frozen=True)
class _Identity:
    """A program, or the object behind a method and the method's name."""

    owner: Callable[[], Any]
    name: str | None

    def is_that_of(self, other: _Identity) -> bool:
        return self.owner() is other.owner() and self.name == other.name


@dataclass(eq=False)
class _Record:
    """What is remembered of one pair."""

    model: _Identity
    guide: _Identity
    kept: dict[Any, Any]
    watches: Any = ()

    def is_of(self, programs: tuple[_Identity, _Identity]) -> bool:
        return self.model.is_that_of(programs[0]) and self.guide.is_that_of(programs[1])


@dataclass
class _LastMade:
    """The last program made by some piece of source, and how often it was used."""

    program: Callable[[], Any]
    times: int = 1


def _identity(program: Any) -> _Identity:
    if isinstance(program, MethodType):
        return _Identity(ref(program.__self__), program.__func__.__qualname__)
    return _Identity(ref(program), None)


def _source(program: Any) -> Any:
    """What makes such programs, if it may make one for every step; None for a module, which has its own parameters."""
    inner = program
    while isinstance(inner, partial):
        is_handled = len(inner.args) > 1 and isinstance(inner.args[0], Messenger)
        inner = inner.args[1] if is_handled else inner.func
    if isinstance(inner, FunctionType):
        return inner.__code__
    owner = inner.__self__ if isinstance(inner, MethodType) else inner
    if isinstance(owner, torch.nn.Module):
        return None if inner is program else ref(owner)
    return type(owner)


def _none() -> None:
    """Stand for no guide, which None could not, since it can't be referred to weakly."""
