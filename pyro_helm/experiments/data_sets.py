"""Data sets of a study: by name, cut to their first rows, drawn anew, or given as an object and kept in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file

from pyro_helm.data.patterns import PatternDistribution, draw
from pyro_helm.data.sets import Data, load_data
from pyro_helm.data.splits import PARTS
from pyro_helm.experiments.digests import digest_of_tensors
from pyro_helm.experiments.own_names import named
from pyro_helm.runtime.arguments import at_least_one, checked_seed
from pyro_helm.runtime.atomic_files import atomic_path

FOLDER = "data"


def data_digest(data: Data) -> str:
    """Digest of all that a run reads of a data set."""
    known = [] if data.distribution is None else [data.distribution.patterns, data.distribution.probabilities]
    return digest_of_tensors(data.train, data.valid, data.test, *known)


def load_part(source: str, *, data_seed: int = 0, **rows: int) -> Data:
    """A data set, or the first rows of its parts.

    Args:
        source: a name or path that :func:`pyro_helm.load_data` knows, or ``module:name`` of a function that returns a
            :class:`pyro_helm.Data`.
        data_seed: other than 0, the rows of a generated set are drawn anew.
        rows: of ``train``, ``valid`` and ``test``.

    Raises:
        ValueError: for rows out of range, or a seed for data that are not generated.

    >>> load_part("bars", train=100).train.shape
    torch.Size([100, 16])
    """
    data = named(source, "data set")() if ":" in source and not Path(source).exists() else load_data(source)
    if not isinstance(data, Data):
        raise ValueError(f"data set {source!r} gave a {type(data).__name__}, expected a Data")
    if checked_seed(data_seed):
        if data.distribution is None:
            raise ValueError(f"data_seed needs a generated data set such as shifter; {source} has no distribution")
        drawn: dict[str, Any] = {
            part: draw(data.distribution, len(getattr(data, part)), seed=len(PARTS) * data_seed + number)
            for number, part in enumerate(PARTS)
        }
        data = replace(data, **drawn)
    kept: dict[str, Any] = {part: getattr(data, part)[: at_least_one(part, number)] for part, number in rows.items()}
    return replace(data, **kept)


def keep(data: Data, folder: Path) -> None:
    """Write a data set that was given as an object to a study's folder, from which runs read it."""
    path = _path(folder, data_digest(data))
    if path.exists():
        return
    tensors = {part: getattr(data, part) for part in PARTS}
    if data.distribution is not None:
        tensors |= {"patterns": data.distribution.patterns, "probabilities": data.distribution.probabilities}
    header = {"name": data.name, "image_shape": json.dumps(data.image_shape)}
    with atomic_path(path) as temporary:
        # safetensors refuses tensors that share memory
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, temporary, metadata=header)


def data_of(description: Mapping[str, Any], folder: Path) -> Data:
    """The data set of a run, for reading only.

    Args:
        description: what ``run.json`` says of it.
        folder: the study's.

    Raises:
        ValueError: if the data here are not those of the study.
        OSError: if they are not here.

    """
    return _loaded(json.dumps(description, sort_keys=True), folder)


@lru_cache(maxsize=4)
def _loaded(description: str, folder: Path) -> Data:
    said: dict[str, Any] = json.loads(description)
    digest, source = said.pop("digest"), said.pop("source")
    if source is None:
        return _kept(_path(folder, digest))
    data = load_part(source, **said)
    if data_digest(data) != digest:
        raise ValueError(
            f"data set {source} on this computer is not the one that the study was made with; its rows differ"
        )
    return data


def _path(folder: Path, digest: str) -> Path:
    return folder / FOLDER / f"{digest}.safetensors"


def _kept(path: Path) -> Data:
    if not path.is_file():
        raise FileNotFoundError(f"the data of this run are not here: {path} is missing")
    with safetensors.safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    shape = json.loads(header["image_shape"])
    known = PatternDistribution(tensors["patterns"], tensors["probabilities"]) if "patterns" in tensors else None
    parts = {part: tensors[part] for part in PARTS}
    return Data(header["name"], **parts, image_shape=None if shape is None else tuple(shape), distribution=known)
