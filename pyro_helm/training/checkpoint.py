"""Machines on disk: one file with the parameters of a model and its guide, and what rebuilds the two."""

from __future__ import annotations

import copy
import json
import os
import warnings
from pathlib import Path
from types import NoneType
from typing import Any, cast

import safetensors
import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import nn

from pyro_helm.guides import GUIDES
from pyro_helm.models import MODELS
from pyro_helm.programs.layered import check_sizes_agree
from pyro_helm.runtime.atomic_files import atomic_path, newest
from pyro_helm.runtime.budget import num_weights
from pyro_helm.runtime.paths import expanded

FILE_NAME = "machine.safetensors"

_CLASSES: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (*MODELS.values(), *GUIDES.values())}
_PARTS = ("model", "guide")
_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
# What a constructor raises for arguments of a wrong type or value, whatever a header says.
_REFUSALS = (TypeError, ValueError, RuntimeError, OverflowError, AttributeError, KeyError, IndexError)


def save(path: str | Path, model: nn.Module, guide: nn.Module | None) -> None:
    """Save a model and its guide to one safetensors file.

    The file is written whole or not at all. A folder gets a file ``machine.safetensors``. Machines made of this
    library's classes are rebuilt by :func:`load`; of others the parameters are kept, to be loaded into a model and
    guide that the caller makes.

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
    header = {part: json.dumps(_described(module)) for part, module in (("model", model), ("guide", guide))}
    with atomic_path(_file(path)) as temporary:
        temporary.write_bytes(serialised(tensors, metadata=header))  # a full disk is an OSError, as for all files


def load(path: str | Path, model: nn.Module | None = None, guide: nn.Module | None = None) -> tuple[Any, Any]:
    """Load the model and guide that :func:`save` or :func:`pyro_helm.fit` wrote.

    A file knows the class of each part and, of this library's, its sizes, imaging models, leaks and restarts. A part
    that is passed must agree with all of it, but for the weights that :func:`pyro_helm.fit` adds to a guide where data
    are missing: it is given them.

    Args:
        path: file, or folder that holds ``machine.safetensors``.
        model: where the parameters go; None rebuilds a model of this library.
        guide: likewise; what comes back is None if the model was saved without one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a machine, a part can't be rebuilt, has a parameter that is NaN, or is not what
            was passed as ``model`` or ``guide``, which are then left unchanged.

    Warns:
        RuntimeWarning: if a parameter is infinite.

    >>> save("mine.safetensors", torch.nn.Linear(3, 2), torch.nn.Linear(2, 3))
    >>> model, guide = load("mine.safetensors", torch.nn.Linear(3, 2), torch.nn.Linear(2, 3))
    """
    for part, module in (("model", model), ("guide", guide)):
        if not isinstance(module, (nn.Module, NoneType)):
            raise TypeError(f"{part} must be a module to load into, or None, got {type(module).__name__}")
    file = _file(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no machine at {file}; expected a file that save() or fit(out=...) wrote")
    described, tensors = _read(file)
    parts = {}
    for part, module in (("model", model), ("guide", guide)):
        found = {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
        if module is None and described[part]["class"] is None and part == "guide":
            continue
        if module is None:
            module = _rebuild(file, part, described[part], found)
        else:
            _check_described(file, part, described[part], _prepared(module, described[part]))
        _check_tensors(file, part, found, _prepared(module, described[part]))
        parts[part] = module, found
    check_sizes_agree(*(parts[part][0] if part in parts else None for part in ("model", "guide")))
    for part, (module, found) in parts.items():
        if _prepared(module, described[part]) is not module:
            cast(Any, module).learn_missing()
        module.load_state_dict(found)
    return parts["model"][0], parts["guide"][0] if "guide" in parts else None


def _file(path: str | Path) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be that of a file or folder, got {path!r:.60}")
    path = expanded(path)
    return newest(path, FILE_NAME) if path.is_dir() else path


def _described(module: nn.Module | None) -> dict[str, Any]:
    """What the header says of a part: its class, and its configuration if that is a table that JSON can hold."""
    config = getattr(module, "config", None)
    try:
        json.dumps(config)
    except (TypeError, ValueError):  # of a user's own class, which may mean anything by the word
        config = None
    return {
        "class": None if module is None else type(module).__name__,
        "config": config if isinstance(config, dict) else None,
    }


def _read(file: Path) -> tuple[dict[str, dict[str, Any]], dict[str, torch.Tensor]]:
    """What the header says of each part, and all tensors by name."""
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            header: dict[str, str] = opened.metadata() or {}
        tensors = load_file(file)
        described = {part: json.loads(header[part]) for part in _PARTS}
    except KeyError as error:
        raise ValueError(f"{file} is not a machine that save() or fit(out=...) wrote: no {error} in it") from error
    # a header may be nested too deeply to be read
    except (safetensors.SafetensorError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not a machine that save() or fit(out=...) wrote: {error}") from error
    for part, said in described.items():
        is_table = isinstance(said, dict) and {"class", "config"} <= said.keys()
        if not is_table or not isinstance(said["class"], str | None) or not isinstance(said["config"], dict | None):
            raise ValueError(
                f"{file} is not a machine that save() or fit(out=...) wrote: its header must give class and config of "
                f"the {part}"
            )
    return described, tensors


def _rebuild(file: Path, part: str, described: dict[str, Any], found: dict[str, torch.Tensor]) -> nn.Module:
    """A part of one of this library's classes, in the dtype of its tensors."""
    name, config = described["class"], described["config"]
    if name is None:
        raise ValueError(f"{file} holds no {part}; pass one as load(path, {part}=...)")
    if name not in _CLASSES or config is None:
        raise ValueError(
            f"the {part} in {file} is a {name}, which is not one of this library's classes; make one and pass it as "
            f"load(path, {part}=...)"
        )
    _check_size(file, part, config, found)
    dtypes = {value.dtype for value in found.values()}
    if len(dtypes) != 1 or not dtypes <= _DTYPES:
        raise ValueError(
            f"the {part} in {file} has parameters of {_listed(dtypes)}, expected one floating-point type of 16, 32 or "
            "64 bits"
        )
    try:
        return _CLASSES[name](**config).to(dtypes.pop())
    except _REFUSALS as error:
        raise ValueError(f"the {part} in {file} can't be rebuilt by this version of the library: {error}") from error


def _check_size(file: Path, part: str, config: dict[str, Any], found: dict[str, torch.Tensor]) -> None:
    """Refuse a header that asks for more weights than the file has, before memory is taken for them."""
    sizes, restarts = config.get("sizes"), config.get("restarts", 1)
    if not isinstance(sizes, list) or not all(type(number) is int and number > 0 for number in [*sizes, restarts]):
        raise ValueError(
            f"the {part} in {file} has sizes {_shortened(sizes)} and restarts {_shortened(restarts)}, expected "
            "positive integers"
        )
    asked, held = num_weights(sizes, restarts), sum(value.numel() for value in found.values())
    if asked > held:
        raise ValueError(
            f"the {part} in {file} has {held} numbers, but its header asks for at least {asked}: sizes "
            f"{_shortened(sizes)} and restarts {restarts}"
        )


def _prepared(module: Any, described: dict[str, Any]) -> Any:
    """The module, or a copy that sees missing values, if :func:`pyro_helm.fit` let the one of the file do so."""
    learnt = bool((described["config"] or {}).get("missing")) and hasattr(module, "learn_missing")
    if not learnt or module.config.get("missing"):
        return module
    module = copy.deepcopy(module)
    module.learn_missing()
    return module


def _check_described(file: Path, part: str, described: dict[str, Any], module: nn.Module) -> None:
    """Refuse a module of another class or configuration than the header's."""
    name = described["class"]
    if name is None:
        raise ValueError(f"{file} was saved without a {part}, but one was passed")
    if name not in (kind.__name__ for kind in type(module).__mro__):
        raise ValueError(f"the {part} in {file} is a {name}, but a {type(module).__name__} was passed")
    saved = described["config"]
    passed = json.loads(json.dumps(_described(module)["config"]))
    if saved is None or passed is None:
        return
    for setting in saved:
        if saved[setting] != passed.get(setting):
            raise ValueError(
                f"the {part} in {file} has {setting} {_shortened(saved[setting])}, but the one passed has "
                f"{_shortened(passed.get(setting))}"
            )


def _check_tensors(file: Path, part: str, found: dict[str, torch.Tensor], module: nn.Module) -> None:
    """Refuse tensors of other names, shapes or kinds than the module's, and parameters that are NaN."""
    expected = module.state_dict()
    parameters = dict(module.named_parameters())
    for name in sorted(found.keys() | expected.keys()):
        where = f"{part} parameter {name!r}"
        if name not in found:
            raise ValueError(f"{file} has no {where}, which this {part} expects")
        if name not in expected:
            raise ValueError(f"{file} has a {where}, which this {part} does not have")
        value, own = found[name], expected[name]
        if value.shape != own.shape:
            raise ValueError(f"{where} in {file} has shape {list(value.shape)}, expected {list(own.shape)}")
        if value.is_floating_point() != own.is_floating_point() or value.is_complex() != own.is_complex():
            raise ValueError(f"{where} in {file} has {_listed({value.dtype})}, expected {_listed({own.dtype})}")
        if name not in parameters or not value.is_floating_point():
            continue
        if bool(value.isnan().any()):
            raise ValueError(f"{where} in {file} is NaN in {int(value.isnan().sum())} of {value.numel()} places")
        if bool(value.isinf().any()):
            warnings.warn(
                f"{where} in {file} is infinite in {int(value.isinf().sum())} of {value.numel()} places, so its "
                "log-likelihoods may be NaN",
                RuntimeWarning,
                stacklevel=3,
            )


def _listed(dtypes: set[torch.dtype]) -> str:
    return ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes)) or "no type at all"


def _shortened(value: Any) -> str:
    """Text of a value from a header, which may be of any length."""
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
