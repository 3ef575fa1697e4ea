"""Digests of what decides the numbers of a run."""

from __future__ import annotations

import hashlib
import json
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
