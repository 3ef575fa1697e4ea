"""Work on data chunk by chunk, with progress, so that what was interrupted can be taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.runtime.seeding import forked_rng

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
        ValueError: if the folder has chunks made with other settings, or a file that is no chunk of these rows.

    """
    if resume is not None:
        _check_settings(resume, {"seed": seed, "rows_at_once": rows_at_once, **settings})
    chunks: list[dict[str, Tensor]] = []
    rows = list(enumerate(x.split(rows_at_once)))
    shown = track(rows, str(settings["method"]), console=Console(stderr=True), disable=not progress)
    for number, some in shown:
        file = None if resume is None else resume / f"chunk-{number:05d}.safetensors"
        if file is not None and file.exists():
            chunks.append(_read(file, len(some), x.device, chunks))
            continue
        with forked_rng(_seed_of_chunk(seed, number), x.device):
            chunk = {name: value.contiguous() for name, value in estimate(some).items()}
        if chunks and _form(chunk) != _form(chunks[0]) and resume is not None:
            raise ValueError(_damaged(resume / "chunk-00000.safetensors", "it has other columns than those made now"))
        if file is not None:
            with atomic_path(file) as path:
                save_file(chunk, path)
        chunks.append(chunk)
    if len({frozenset(chunk) for chunk in chunks}) > 1 or not chunks[0]:
        raise ValueError(f"chunks in {resume} are of different estimates; give another folder, or remove this one")
    return {name: torch.cat([chunk[name] for chunk in chunks], dim=-1) for name in chunks[0]}


def _read(file: Path, num_rows: int, device: torch.device, before: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A chunk that is there already, which must be like those before it and have its number of rows."""
    try:
        chunk = load_file(file, device=str(device))
    except (SafetensorError, OSError) as error:
        raise ValueError(_damaged(file, f"it can't be read ({error})")) from error
    for name, value in chunk.items():
        if value.dim() != 2 or value.shape[-1] != num_rows:
            raise ValueError(
                _damaged(file, f"its {name} has shape {list(value.shape)}, but should be [restarts, {num_rows}]")
            )
    if "log_likelihood" not in chunk or len({len(value) for value in chunk.values()}) > 1:
        raise ValueError(_damaged(file, "it should have log_likelihood and other columns of equal restarts"))
    if before and _form(chunk) != _form(before[0]):
        raise ValueError(_damaged(file, "it has other columns, restarts or types than the chunk before it"))
    return chunk


def _form(chunk: Mapping[str, Tensor]) -> dict[str, tuple[int, torch.dtype]]:
    return {name: (len(value), value.dtype) for name, value in chunk.items()}


def _damaged(file: Path, why: str) -> str:
    return f"{file} is not a chunk of this estimate: {why}; remove the file, and it is estimated anew"


def _seed_of_chunk(seed: int, number: int) -> int:
    # mixed, since torch's generator on the CPU takes 32 bits and the seeds of neighbouring runs must not meet
    return seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    file = folder / _SETTINGS
    settings = json.loads(json.dumps(settings))
    if file.exists():
        found = _read_settings(file)
        differing = sorted(name for name in found.keys() | settings.keys() if found.get(name) != settings.get(name))
        if differing:
            raise ValueError(
                f"{folder} holds chunks of another estimate, with other {', '.join(differing)}; give another folder, "
                "or remove this one"
            )
        return
    if any(folder.glob("chunk-*")):
        raise ValueError(f"{folder} holds chunks, but no {_SETTINGS} that says of what; give another folder")
    with atomic_path(file) as path:
        path.write_text(json.dumps(settings, indent=1))


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}); give another folder, or remove this one") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} is damaged (it holds no settings); give another folder, or remove this one")
    return found
