"""Work on data chunk by chunk, with progress, so that what was interrupted can be taken up again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pyro
import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor

from pyro_helm.atomic import atomic_path
from pyro_helm.placement import forked_rng

_SETTINGS = "settings.json"


def by_chunks(
    estimate: Callable[[Tensor], Mapping[str, Tensor]],
    x: Tensor,
    *,
    rows_at_once: int,
    seed: int,
    resume: Path | None,
    settings: Mapping[str, Any],
    progress: bool,
) -> dict[str, Tensor]:
    """Estimates of all rows, ``[restarts, data]`` by name, made of chunks that each have random numbers of their own.

    Args:
        estimate: from some rows to their estimates.
        x: ``[data, units]``.
        rows_at_once: rows of a chunk.
        seed: of the first chunk; the others' are derived from it.
        resume: folder that keeps a file for each chunk; chunks that are there already are read. None keeps nothing.
        settings: what the chunks depend on.
        progress: show a progress bar on standard error.

    Raises:
        ValueError: if the folder has chunks made with other settings.

    """
    if resume is not None:
        _check_settings(resume, {"seed": seed, "rows_at_once": rows_at_once, **settings})
    chunks = []
    rows = list(enumerate(x.split(rows_at_once)))
    shown = track(rows, str(settings["method"]), console=Console(stderr=True), disable=not progress)
    for number, some in shown:
        file = None if resume is None else resume / f"chunk-{number:05d}.safetensors"
        if file is not None and file.exists():
            chunks.append(load_file(file, device=str(x.device)))
            continue
        with forked_rng(_seed_of_chunk(seed, number), x.device):
            chunk = {name: value.contiguous() for name, value in estimate(some).items()}
        if file is not None:
            with atomic_path(file) as path:
                save_file(chunk, path)
        chunks.append(chunk)
    return {name: torch.cat([chunk[name] for chunk in chunks], dim=-1) for name in chunks[0]}


def _seed_of_chunk(seed: int, number: int) -> int:
    # mixed, since torch's generator on the CPU takes 32 bits and the seeds of neighbouring runs must not meet
    return seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    file = folder / _SETTINGS
    settings = json.loads(json.dumps(settings))
    if file.exists():
        found = json.loads(file.read_text())
        differing = sorted(name for name in found.keys() | settings.keys() if found.get(name) != settings.get(name))
        if differing:
            raise ValueError(
                f"{folder} holds chunks of another estimate, with other {', '.join(differing)}; give another folder, "
                "or remove this one"
            )
        return
    with atomic_path(file) as path:
        path.write_text(json.dumps(settings, indent=1))


def fingerprint(*parts: object) -> str:
    """Digest of tensors, of the parameters of programs, and of what functions are closed over."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(part, torch.nn.Module):
            for name, value in sorted(part.state_dict().items()):
                digest.update(f"{name} {fingerprint(value)}".encode())
        elif isinstance(part, FunctionType):
            # its parameters are in the global store, or with what it is closed over
            stored = [value for _, value in sorted(pyro.get_param_store().items())]
            held = [cell.cell_contents for cell in part.__closure__ or ()]
            digest.update(f"{part.__qualname__} {fingerprint(*stored, *held)}".encode())
        elif hasattr(part, "__wrapped__"):  # by one of Pyro's handlers
            digest.update(f"{type(part).__qualname__} {fingerprint(part.__wrapped__)}".encode())
        elif isinstance(part, int | float | str | None):
            digest.update(repr(part).encode())
    return digest.hexdigest()
