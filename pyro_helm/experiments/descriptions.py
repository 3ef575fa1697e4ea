"""What decides the numbers of a run, as text that JSON can hold, and the digest of it."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

DIGITS = 16
"""Hexadecimal digits of a digest: enough for two of a million runs never to share one."""

_WITH_A_VERSION = {"pyro_helm", "torch", "pyro", "numpy"}


def described(value: Any) -> Any:
    """A value as JSON can hold it, such that unlike values are described unlike.

    A function or class is its importable name. Of those that belong to no package with a version, the digest of the
    source is in it, and what a function is closed over, so that a changed one is another.

    Raises:
        ValueError: for something that can't be told apart from others of its kind.

    >>> described({"dtype": torch.float64, "optimizer": functools.partial(torch.optim.SGD, lr=0.1)})
    {'dtype': 'torch.float64', 'optimizer': {'partial': 'torch.optim.sgd:SGD', 'lr': 0.1}}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.dtype | torch.device | PurePath):
        return str(value)
    if isinstance(value, list | tuple):
        return [described(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): described(each) for name, each in value.items()}
    if isinstance(value, functools.partial):
        arguments = {"arguments": described(value.args)} if value.args else {}
        return {"partial": described(value.func), **arguments, **described(value.keywords)}
    if inspect.isclass(value) or inspect.isroutine(value):
        return _of_code(value)
    raise ValueError(
        f"{value!r:.60} can't be told apart from another {type(value).__name__}, so it can't decide the numbers of a "
        "run; expected numbers, text, or functions and classes"
    )


def _of_code(code: Any) -> Any:
    name = f"{code.__module__}:{code.__qualname__}"
    if code.__module__ is None or code.__module__.split(".")[0] in _WITH_A_VERSION:
        return name
    try:
        source = inspect.getsource(code)
    except (OSError, TypeError):  # typed at a prompt, or compiled
        source = getattr(getattr(code, "__code__", None), "co_code", b"").hex()
    found: dict[str, Any] = {"code": name, "source": _sha(source.encode())}
    closed = [cell.cell_contents for cell in getattr(code, "__closure__", None) or ()]
    return found | ({"closure": described(closed)} if closed else {})


def digest_of(description: Any) -> str:
    """Digest of a description, the name of the run's folder.

    >>> digest_of({"seed": 0, "restarts": 8}) == digest_of({"restarts": 8, "seed": 0})
    True
    """
    return _sha(json.dumps(description, sort_keys=True).encode())


def digest_of_tensors(*tensors: torch.Tensor) -> str:
    """Digest of the values and shapes of tensors."""
    parts = [f"{tuple(tensor.shape)} {tensor.dtype}".encode() + tensor.numpy().tobytes() for tensor in tensors]
    return _sha(b"".join(parts))


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def named(text: str, what: str) -> Callable[..., Any]:
    """The function or class that ``module:name`` stands for.

    Args:
        text: for example ``my_models:deep_machine``.
        what: it is for; begins the sentence of an error.

    Raises:
        ValueError: if there is no such module, or no such function or class in it.

    >>> named("torch.optim:SGD", "optimizer")
    <class 'torch.optim.sgd.SGD'>
    """
    module, _, name = text.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{what} {text!r} can't be found: {error}; expected module:name") from error
    if not callable(found):
        raise ValueError(f"{what} {text!r} is a {type(found).__name__}, expected a function or class")
    return found  # type: ignore[no-any-return]
