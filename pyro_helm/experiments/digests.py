"""Digests of what decides the numbers of a run, and functions by their names."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable
from typing import Any

import torch

DIGITS = 16
"""Hexadecimal digits of a digest: enough for two of a million runs never to share one."""


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
