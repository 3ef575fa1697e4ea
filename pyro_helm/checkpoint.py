"""Machines on disk: one file with the parameters of a model and its guide, and what rebuilds the two."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import NoneType
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pyro_helm.atomic import atomic_path
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

FILE_NAME = "machine.safetensors"

_CLASSES: dict[str, type[nn.Module]] = {"BeliefNetwork": BeliefNetwork, "FactorialRecognition": FactorialRecognition}


def save(path: str | Path, model: nn.Module, guide: nn.Module | None) -> None:
    """Save a model and its guide to one safetensors file, whole or not at all.

    A folder gets a file ``machine.safetensors``. Machines made of this library's classes are rebuilt by :func:`load`;
    of others the parameters are kept, to be loaded into a model and guide that the caller makes.

    Args:
        path: file, or existing folder.
        model: generative model.
        guide: recognition guide, or None for a model without one.

    >>> save("machine.safetensors", BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0))
    >>> model, guide = load("machine.safetensors")
    >>> model.sizes
    (6, 4)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module, whose parameters are saved, got {type(model).__name__}")
    if not isinstance(guide, (nn.Module, NoneType)):
        raise TypeError(f"guide must be a module or None, got {type(guide).__name__}")
    tensors = {
        f"{part}.{name}": value.detach().cpu().clone()  # safetensors refuses tensors that share memory
        for part, module in (("model", model), ("guide", guide))
        if module is not None
        for name, value in module.state_dict().items()
    }
    header = {
        part: json.dumps(
            {"class": None if module is None else type(module).__name__, "config": getattr(module, "config", None)}
        )
        for part, module in (("model", model), ("guide", guide))
    }
    with atomic_path(_file(path)) as temporary:
        save_file(tensors, temporary, metadata=header)


def load(path: str | Path, model: nn.Module | None = None, guide: nn.Module | None = None) -> tuple[Any, Any]:
    """Load the model and guide that :func:`save` or :func:`pyro_helm.fit` wrote.

    Args:
        path: file, or folder that holds ``machine.safetensors``.
        model: where the parameters go; None rebuilds a model of this library.
        guide: likewise; what comes back is None if the model was saved without one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a machine, a part can't be rebuilt, or its parameters don't fit ``model`` or
            ``guide``, which are then left as they were.

    >>> save("mine.safetensors", torch.nn.Linear(3, 2), torch.nn.Linear(2, 3))
    >>> model, guide = load("mine.safetensors", torch.nn.Linear(3, 2), torch.nn.Linear(2, 3))
    """
    for part, module in (("model", model), ("guide", guide)):
        if not isinstance(module, (nn.Module, NoneType)):
            raise TypeError(f"{part} must be a module to load into, or None, got {type(module).__name__}")
    file = _file(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no machine at {file}; expected a file that save() or fit(out=...) wrote")
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            header: dict[str, str] = opened.metadata() or {}
        tensors = load_file(file)
        described = {part: json.loads(header[part]) for part in ("model", "guide")}
    except (safetensors.SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is not a machine that save() or fit(out=...) wrote: {error}") from error
    parts = {
        part: _rebuild(file, part, described[part]).to(_dtype(tensors)) if module is None else module
        for part, module in (("model", model), ("guide", guide))
        if described[part]["class"] is not None or module is not None
    }
    states = {part: _state(file, part, tensors, module) for part, module in parts.items()}
    for part, module in parts.items():
        module.load_state_dict(states[part])
    return parts["model"], parts.get("guide")


def _file(path: str | Path) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be that of a file or folder, got {path!r:.60}")
    path = Path(path)
    return path / FILE_NAME if path.is_dir() else path


def _rebuild(file: Path, part: str, described: dict[str, Any]) -> nn.Module:
    name = described["class"]
    if name not in _CLASSES or described["config"] is None:
        raise ValueError(
            f"the {part} in {file} is a {name}, which is not one of this library's classes; make one and pass it as "
            f"load(path, {part}=...)"
        )
    try:
        return _CLASSES[name](**described["config"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"the {part} in {file} can't be rebuilt by this version of the library: {error}") from error


def _dtype(tensors: dict[str, torch.Tensor]) -> torch.dtype:
    return next(value.dtype for value in tensors.values() if value.is_floating_point())


def _state(file: Path, part: str, tensors: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """The part's tensors, checked before anything is changed."""
    found = {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
    expected = module.state_dict()
    for name in sorted(found.keys() | expected.keys()):
        here = list(found[name].shape) if name in found else "nothing"
        there = list(expected[name].shape) if name in expected else "nothing"
        if here != there:
            raise ValueError(f"{file} has {here} for {part} parameter {name!r}, where this {part} expects {there}")
    return found
