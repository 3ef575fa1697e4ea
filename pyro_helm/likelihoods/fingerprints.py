"""Digests of what an estimate depends on, so that results are never taken up for another one.

Whatever could change a number is in the digest: tensors; modules with their class, settings and parameters; functions
with their code, constants, defaults, attributes, and what they are closed over, find among the globals or import;
classes with all of their attributes and those of their bases; modules of the user's own that a function names, with
all that is in them; the parts of partials and bound methods; Pyro's parameter store. Other objects are what they are
pickled as, with their class. Code of installed packages is known by its name. What can't be told apart is refused.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Mapping, Set
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

_OF_TORCH = frozenset(vars(torch.nn.Module())) - {"training", "_forward_hooks", "_forward_pre_hooks"}

_OF_PYTHON = {
    *("__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__"),
    *("__annotations__", "__annotate__", "__annotations_cache__", "__parameters__", "__orig_bases__"),
    *("__abstractmethods__", "_abc_impl", "__dataclass_fields__", "__dataclass_params__", "__match_args__"),
}
"""Attributes of classes that change no number."""


def fingerprint(*parts: object) -> str:
    """Digest of all parts and of Pyro's parameter store.

    Raises:
        ValueError: for something that can be neither looked into nor pickled, named by its type.

    >>> fingerprint(torch.zeros(2), 1.0) == fingerprint(torch.zeros(2), 1.0)
    True
    """
    return _Digest().of((parts, dict(sorted(pyro.get_param_store().items())), torch.get_default_dtype()))


_INSTALLED = {"site-packages", "dist-packages"}


class _Digest:
    """Digests that know what they have met, so that what refers to itself comes to an end."""

    def __init__(self) -> None:
        # with the things themselves, since the id of what is gone is given to another
        self.done: dict[int, tuple[str, object]] = {}
        self.begun: list[int] = []

    def of(self, part: Any) -> str:
        """Of anything."""
        if part is None or isinstance(part, bool | int | float | complex | str | bytes | torch.dtype | torch.device):
            return _joined(type(part).__qualname__, repr(part))
        if isinstance(part, Tensor | np.ndarray):
            return self._of_array(part)
        if id(part) in self.done:
            return self.done[id(part)][0]
        if id(part) in self.begun:
            return _joined("begun", str(self.begun.index(id(part))))
        self.begun.append(id(part))
        digest = _joined(type(part).__qualname__, *map(self.of, self._parts(part)))
        self.begun.pop()
        self.done[id(part)] = digest, part
        return digest

    def _of_array(self, part: Tensor | np.ndarray) -> str:
        if isinstance(part, Tensor):
            data = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        elif part.dtype == object:
            data = self.of(part.tolist()).encode()
        else:
            data = part.tobytes()
        return _joined(type(part).__name__, str(part.dtype), str(tuple(part.shape)), hashlib.sha256(data).hexdigest())

    def _parts(self, part: Any) -> list[Any]:
        """What something is made of."""
        if isinstance(part, Mapping):
            return [self.of(type(part)), *part.items()]
        if isinstance(part, Set):
            return sorted(map(self.of, part))
        if isinstance(part, list | tuple):
            return [self.of(type(part)), *part]
        if isinstance(part, torch.nn.Module):
            return self._of_module(part)
        if isinstance(part, FunctionType):
            return self._of_function(part)
        if isinstance(part, functools.partial):
            return [part.func, part.args, part.keywords]
        if isinstance(part, MethodType):
            return [part.__func__, part.__self__]
        if isinstance(part, CodeType):
            return [part.co_code, part.co_consts, part.co_names, part.co_varnames, part.co_freevars]
        if isinstance(part, type):
            return [_name(part), [] if _is_installed(part) else _of_class(part)]
        if isinstance(part, ModuleType):
            return [part.__name__, {} if _is_installed(part) else _contents(part)]
        return self._of_object(part)

    def _of_module(self, part: torch.nn.Module) -> list[Any]:
        settings = {
            name: value
            for name, value in vars(part).items()
            if name not in _OF_TORCH and (name == "_pyro_params" or not name.startswith("_pyro"))
        }
        own = {**dict(part.named_parameters(recurse=False)), **dict(part.named_buffers(recurse=False))}
        return [type(part), settings, own, dict(part.named_children())]

    def _of_function(self, part: FunctionType) -> list[Any]:
        held = []
        for cell in part.__closure__ or ():
            try:
                held.append(cell.cell_contents)
            except ValueError:  # not yet filled
                held.append(None)
        if _is_installed(part):
            return [_name(part), part.__defaults__, part.__kwdefaults__, held]
        names = sorted(_names(part.__code__))
        found = {name: part.__globals__[name] for name in names if name in part.__globals__}
        package = part.__globals__.get("__package__")
        imported = [sys.modules.get(name) or sys.modules.get(f"{package}.{name}") for name in names if name]
        return [_name(part), part.__code__, part.__defaults__, part.__kwdefaults__, vars(part), held, found, imported]

    def _of_object(self, part: Any) -> list[Any]:
        if isinstance(part, BuiltinFunctionType) and (part.__self__ is None or isinstance(part.__self__, ModuleType)):
            return [_name(part)]
        try:
            reduced = part.__reduce_ex__(2)
        except Exception as error:
            raise ValueError(
                f"can't tell whether {part!r}, of type {type(part).__qualname__}, is the same as in an earlier run, so "
                "that its results can't be kept; leave it out of the model or guide, or call without resume"
            ) from error
        if isinstance(reduced, str):  # known by its name, as a cached function is
            return [type(part), reduced, getattr(part, "__wrapped__", None)]
        rebuild, arguments, *state = reduced
        contents = [list(more) if more is not None and number else more for number, more in enumerate(state[:3])]
        return [type(part), rebuild, arguments, contents]


def _joined(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _name(part: Any) -> str:
    return f"{getattr(part, '__module__', None)}.{part.__qualname__}"


def _is_installed(part: Any) -> bool:
    package = str(part.__name__ if isinstance(part, ModuleType) else part.__module__).split(".")[0]
    file = Path(getattr(sys.modules.get(package), "__file__", None) or "")
    return package in {"pyro_helm", *sys.stdlib_module_names} - {"__main__"} or not _INSTALLED.isdisjoint(file.parts)


def _of_class(kind: type) -> list[Any]:
    """A class's bases, its metaclass, and all that is written in it."""
    contents = {name: _plain(value) for name, value in vars(kind).items() if name not in _OF_PYTHON}
    return [kind.__bases__, type(kind), dict(sorted(contents.items()))]


def _plain(attribute: Any) -> Any:
    """What a descriptor of a class was made from."""
    if isinstance(attribute, property):
        return [attribute.fget, attribute.fset]
    if isinstance(attribute, functools.cached_property):
        return attribute.func
    if isinstance(attribute, MemberDescriptorType | GetSetDescriptorType):
        return attribute.__name__
    return getattr(attribute, "__func__", attribute)


def _contents(module: ModuleType) -> dict[str, Any]:
    """All that is in a module of the user's own: which of it a function reaches can't be told from its names."""
    return {name: value for name, value in sorted(vars(module).items()) if not name.startswith("__")}


def _names(code: CodeType) -> set[str]:
    """Names that code, and the functions written in it, may look for among the globals."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))
