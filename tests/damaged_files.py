"""Data, machines and folders to resume from with something wrong in each, for tests of what is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

SIZES = (12, 4, 2)


def machine() -> tuple[Any, Any]:
    return BeliefNetwork(SIZES, restarts=2, seed=0), FactorialRecognition(SIZES, restarts=2, seed=0)


def write_data(here: Path) -> None:
    x = (np.random.default_rng(0).random((200, 12)) < 0.3).astype(np.uint8)
    np.save(here / "own.npy", x)
    np.save(here / "halves.npy", x + 0.5)
    np.save(here / "nan.npy", x * np.nan)
    np.save(here / "flat.npy", x[0])
    np.save(here / "objects.npy", x.astype(object), allow_pickle=True)
    np.savez(here / "sparse.npz", indices=x, indptr=x, data=x)
    pd.DataFrame(x[:2]).to_csv(here / "index.csv")
    (here / "a.txt").write_text("0,1\n")
    (here / "empty.csv").touch()
    (here / "empty.npy").touch()
    (here / "two.csv").write_text("a,b\n0,1\n1,0\n")
    (here / "either.csv").write_text("0,1\n0,1\n1,0\n1,1\n")
    for suffix in ("npy", "npz"):
        (here / f"text.{suffix}").write_text("hello")
    with (here / "huge.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (2**70, 2)})
    with zipfile.ZipFile(here / "bomb.npz", "w") as archive:
        archive.write(here / "huge.npy", "X.npy")
    (here / "device.npy").symlink_to("/dev/zero")


def write_machines(folder: Path) -> None:
    folder.mkdir()
    model, guide = machine()
    helm.save(folder / "good", model, guide)
    tensors = load_file(folder / "good")
    said = {
        part: {"class": type(module).__name__, "config": module.config}
        for part, module in (("model", model), ("guide", guide))
    }
    config = said["model"]["config"]
    headers: dict[str, Any] = {
        "no-class": {"config": config},
        "no-config": {"class": "BeliefNetwork"},
        "null": None,
        "null-class": {"class": None, "config": None},
        "null-config": {"class": "BeliefNetwork", "config": None},
        "list": [["class", "config"]],
        "huge": {"class": "BeliefNetwork", "config": config | {"sizes": [10**9, 10**9]}},
        "words": {"class": "BeliefNetwork", "config": config | {"sizes": "12-4-2"}},
        "other-class": {"class": "Linear", "config": config},
        "other-sizes": {"class": "BeliefNetwork", "config": config | {"sizes": [11, 4, 2]}},
    }
    guide_text = json.dumps(said["guide"])
    for name, header in headers.items():
        save_file(tensors, folder / name, metadata={"model": json.dumps(header), "guide": guide_text})
    save_file(tensors, folder / "no-model", metadata={"guide": guide_text})
    save_file(tensors, folder / "nested", metadata={"model": "[" * 100_000, "guide": guide_text})
    whole = {part: json.dumps(header) for part, header in said.items()}
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "integers": lambda value: value.to(torch.int64),
        "nan": lambda value: value * torch.nan,
    }
    for name, change in changes.items():
        save_file({key: change(value) for key, value in tensors.items()}, folder / name, metadata=whole)
    save_file({}, folder / "no-tensors", metadata=whole)
    (folder / "cut").write_bytes((folder / "good").read_bytes()[:-10])
    helm.save(folder / "no-guide", model, None)


def write_resume_folders(here: Path, x: torch.Tensor) -> None:
    """Folders of an estimate that was done, each with something damaged in its part ``run``."""
    for name in ("good", "cut", "rows", "names", "words", "list", "nested", "lost"):
        part = here / "resume" / name / "run"
        helm.log_likelihood(*machine(), x, num_samples=1000, resume=part)
        settings, chunk = part / "settings.json", part / "chunk-00000.safetensors"
        if name == "cut":
            chunk.write_bytes(chunk.read_bytes()[:100])
        elif name == "rows":
            save_file({key: value[:, :30].contiguous() for key, value in load_file(chunk).items()}, chunk)
        elif name == "names":
            save_file({}, chunk)
        elif name == "lost":
            settings.unlink()
        elif name != "good":
            settings.write_text({"words": "hello", "list": "[]", "nested": "[" * 100_000}[name])
