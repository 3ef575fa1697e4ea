"""What a program has besides its parameters: the training mode of its modules, and its buffers."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

_RUNNING = threading.RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Run programs in one thread at a time: others wait, and the same thread may nest.

    Pyro's handlers and torch's random numbers belong to the whole process.
    """
    with _RUNNING:
        yield


@contextmanager
def training(*programs: Any) -> Iterator[None]:
    """Training mode for a while, then the mode that each module had.

    A program in training mode already stays as it is, so that a submodule that is frozen by ``eval()`` remains so.
    """
    with _own_modes(programs):
        for program in _modules(programs):
            if not program.training:
                program.train()
        yield


@contextmanager
def evaluating(*programs: Any) -> Iterator[None]:
    """Evaluation mode for a while, then the mode that each module had.

    It reaches the modules that a plain function calls, too. Programs of other threads wait.
    """
    thread, changed = threading.get_ident(), dict[nn.Module, bool]()

    def leave_training(module: nn.Module, _: Any) -> None:
        if module.training and threading.get_ident() == thread:
            changed[module] = True
            module.training = False

    with one_at_a_time(), _own_modes(programs):
        for program in _modules(programs):
            if any(module.training for module in program.modules()):
                program.eval()
        hook = register_module_forward_pre_hook(leave_training)
        try:
            yield
        finally:
            hook.remove()
            for module in changed:
                module.training = True


@contextmanager
def _own_modes(programs: Iterable[Any]) -> Iterator[None]:
    modules = _modules(programs)
    modes = [(module, module.training) for program in modules for module in program.modules()]
    roots = [(program, program.training) for program in modules]
    try:
        yield
    finally:
        for program, mode in roots:
            if program.training != mode:
                program.train(mode)  # whatever a module does on a change of mode
        for module, mode in modes:
            module.training = mode


def _modules(programs: Iterable[Any]) -> list[nn.Module]:
    """The modules among programs, and those whose methods are."""
    owners = (getattr(program, "__self__", program) for program in programs)
    return [owner for owner in owners if isinstance(owner, nn.Module)]


Place: TypeAlias = tuple[nn.Module, str]
"""Where a buffer is: the module that holds it, and its name there."""

BufferValues: TypeAlias = dict[Place, "Tensor | None"]


class Buffers:
    """The buffers of programs, wherever their modules keep them.

    Args:
        programs: modules, which may share parts.

    """

    def __init__(self, programs: Iterable[nn.Module]) -> None:
        self._modules = {module: prefix for program in programs for prefix, module in program.named_modules()}
        self._places = self.current()

    def current(self) -> BufferValues:
        """The buffers themselves."""
        return {(module, name): value for module in self._modules for name, value in module._buffers.items()}

    def snapshot(self) -> BufferValues:
        """Copies of them all."""
        return {place: None if value is None else value.detach().clone() for place, value in self.current().items()}

    def put(self, values: BufferValues) -> None:
        """Set buffers to these values, in place where they fit, as a captured step asks."""
        for (module, name), value in values.items():
            own = self._places.get((module, name))
            if own is not None and value is not None and own.shape == value.shape:
                own.copy_(value)
                module._buffers[name] = own
            else:
                module._buffers[name] = None if value is None else value.clone()

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Whatever happens to the buffers, they are as before afterwards."""
        before = self.snapshot()
        try:
            yield
        finally:
            with torch.no_grad():
                self.put(before)

    def replaced(self) -> list[str]:
        """Names of those that a program has put another tensor in the place of."""
        return [self.name(place) for place, value in self.current().items() if value is not self._places.get(place)]

    def by_name(self, values: Mapping[Place, Tensor | None]) -> dict[str, Tensor | None]:
        """Buffers, of any shape ``[...]``, by names that tell the programs apart, and outlive them."""
        numbers = {module: number for number, module in enumerate(self._modules)}
        return {f"{numbers[module]}.{name}": value for (module, name), value in values.items()}

    def by_place(self, values: Mapping[str, Tensor | None]) -> BufferValues:
        """What :meth:`by_name` gave, buffers ``[...]`` of these programs or others that are made alike."""
        modules = list(self._modules)
        parts = [(name.partition("."), value) for name, value in values.items()]
        return {(modules[int(number)], name): value for (number, _, name), value in parts}

    def name(self, place: Place) -> str:
        """The name of a buffer in its program."""
        module, name = place
        return f"{self._modules[module]}.{name}".lstrip(".")


def same(one: Tensor | None, other: Tensor | None, *, tolerance: float = 0.0) -> bool:
    """Whether two buffers ``[...]`` have the same values, or are both missing."""
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and torch.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
