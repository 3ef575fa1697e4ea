"""What a run was made of, in words and numbers that JSON holds: the ``config.json`` of its folder."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyro_helm.likelihoods.fingerprints import fingerprint
from pyro_helm.programs.param_store import own_param_store
from pyro_helm.runtime.device import placement
from pyro_helm.schemes import Scheme
from pyro_helm.training.cases import Cases
from pyro_helm.training.schedules import SCHEDULES
from pyro_helm.training.settings import Settings
from pyro_helm.training.streamed_cases import StreamedCases

Manifest = dict[str, Any]

DECIDING = ("settings", "scheme", "model", "guide", "data", "valid", "place")
"""Parts that decide the numbers; the others tell where they were made."""

_OF_THE_SITTING = {"out", "resume", "overwrite", "save_every", "progress", "callbacks", "device", "dtype"}
"""Settings that decide no numbers, or are told by ``place``."""

_MAY_GROW = "settings.num_epochs"
_FREE = "settings.max_seconds"
_MOST_SHOWN = 5
_PACKAGES = ("pyro-helm", "torch", "pyro-ppl", "numpy", "pandas", "safetensors")
_OF_PYRO = vars(Trace_ELBO()).keys() - {"num_particles"}


def manifest_of(
    model: nn.Module,
    guide: nn.Module | None,
    scheme: Scheme,
    cases: Cases | StreamedCases,
    valid: Cases | None,
    settings: Settings,
) -> Manifest:
    """All that decides the numbers of a training, and where and with what they are made."""
    place = placement(model)
    chosen = {field.name: getattr(settings, field.name) for field in fields(settings)}
    own = {name: value for name, value in vars(scheme).items() if not name.startswith("_") and name not in _OF_PYRO}
    manifest: Manifest = {
        "format": 1,
        "settings": {name: described(value) for name, value in chosen.items() if name not in _OF_THE_SITTING},
        "scheme": {"name": scheme.name, "class": _name(type(scheme)), "settings": described(own)},
        "model": _of_program(model),
        "guide": None if guide is None else _of_program(guide),
        "data": _of_cases(cases),
        "valid": None if valid is None else _of_cases(valid),
        "place": {"device": place["device"].type, "dtype": str(place["dtype"])},
        "code": {part: _code(each) for part, each in (("model", model), ("guide", guide), ("scheme", scheme))},
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": _commit(),
        "machine": _machine(place["device"]),
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    deciding = {part: manifest[part] for part in DECIDING}
    return {"digest": hashlib.sha256(repr(sorted(_flat(deciding))).encode()).hexdigest(), **manifest}


def differences(before: Manifest, now: Manifest) -> list[str]:
    """What decides the numbers and differs, each as ``name: that of before, this of now``.

    More epochs are no difference, unless a schedule by name is made for their number; nor is another ``max_seconds``.
    """
    known, asked = (dict(_flat({part: each.get(part) for part in DECIDING})) for each in (before, now))
    found = [name for name in sorted(known.keys() | asked.keys()) if known.get(name) != asked.get(name)]
    is_of_their_number = asked.get("settings.schedule") in SCHEDULES.keys() - {"constant"}
    if not is_of_their_number and (known.get(_MAY_GROW) or 0) < asked[_MAY_GROW]:
        found = [name for name in found if name != _MAY_GROW]
    found = [name for name in found if name != _FREE]
    told = [name for name in found if ".parameters." not in name] or found  # shapes follow from the settings
    shown = [f"{name}: {_shown(known.get(name))} there, {_shown(asked.get(name))} here" for name in told[:_MOST_SHOWN]]
    return shown + ([f"and {len(told) - _MOST_SHOWN} more"] if len(told) > _MOST_SHOWN else [])


def changed_surroundings(before: Manifest, now: Manifest) -> list[str]:
    """Versions, code and threads that differ, from which the last bits of the numbers may."""
    names = {"versions": before.get("versions"), "code": before.get("code"), "machine": before.get("machine")}
    known = dict(_flat(names))
    asked = dict(_flat({name: now[name] for name in names}))
    seen = [name for name in asked if not name.startswith("machine.") or name in ("machine.threads", "machine.gpu")]
    return [f"{name}: {known.get(name)} then, {asked[name]} now" for name in seen if known.get(name) != asked[name]]


def described(value: Any) -> Any:
    """A value in what JSON holds: tensors by their digest, functions and objects by their name and settings."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "digest": _digest(value)}
    if isinstance(value, Mapping):
        return {str(name): described(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [described(each) for each in value]
    if isinstance(value, partial):
        named = {name: described(each) for name, each in value.keywords.items()}
        return {"function": described(value.func), "args": described(value.args), **named}
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if callable(value) and hasattr(value, "__qualname__"):
        name, code = _name(value), _code_of(value)
        return name if code is None else f"{name}, code {code}"
    settings = {name: each for name, each in getattr(value, "__dict__", {}).items() if not name.startswith("_")}
    return {"class": _name(type(value)), **({"settings": described(settings)} if settings else {})}


def _of_program(program: nn.Module) -> dict[str, Any]:
    config = getattr(program, "config", None)
    if not isinstance(config, dict):
        plain = (bool, int, float, str, type(None))
        config = {name: value for name, value in vars(program).items() if isinstance(value, plain) and name[0] != "_"}
        config.pop("training", None)
    parameters = {name: " x ".join(map(str, value.shape)) for name, value in program.named_parameters()}
    return {"class": _name(type(program)), "config": described(config), "parameters": parameters}


def _of_cases(cases: Cases | StreamedCases) -> dict[str, Any]:
    parts = {name: value for name, value in cases._asdict().items() if value is not None and value is not False}
    return {"rows": cases.number, **{name: described(value) for name, value in parts.items()}}


def _digest(value: Tensor) -> str:
    data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(f"{value.dtype} {tuple(value.shape)} ".encode() + data.tobytes()).hexdigest()[:32]


def _name(part: Any) -> str:
    return f"{getattr(part, '__module__', None)}.{part.__qualname__}"


def _code(program: object | None) -> str | None:
    return None if program is None else _code_of(type(program))


def _code_of(part: Any) -> str | None:
    """Digest of the code of a user's own function or class; None where none can be made."""
    if str(part.__module__).split(".")[0] in {"torch", "pyro", "pyro_helm"}:
        return None
    try:
        with own_param_store():
            return fingerprint(part)[:16]
    except (ValueError, RecursionError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from its sources
            found[package] = "not installed"
    return found


def _commit() -> str | None:
    """Of the library's sources, if they are under version control and git is there."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _machine(device: torch.device) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def _flat(part: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Names with dots, and values that are no mappings."""
    if isinstance(part, Mapping) and part:
        for key, value in part.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, part


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
