"""Published data sets: what they are, and fetching their files from the publishers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import torch

__all__ = ["CACHE_VARIABLE", "PublishedData", "PublishedFile", "cache_folder", "fetch", "published_data"]

CACHE_VARIABLE = "PYRO_HELM_CACHE"
_HOLDS_ARRAYS = "in the folder that PYRO_HELM_DATA names"


@dataclass(frozen=True)
class PublishedFile:
    """One text file of a publisher.

    Attributes:
        url: where it is.
        sha256: of its bytes, in hexadecimal.
        bytes: its size.

    """

    url: str
    sha256: str
    bytes: int

    @property
    def name(self) -> str:
        """Its name at the publisher's and in the cache."""
        return Path(urlparse(self.url).path).name


@dataclass(frozen=True)
class PublishedData:
    """A published data set.

    Attributes:
        name: what `load_data` knows it as.
        what: what a row is.
        licence: as its publisher states it.
        origin: where it comes from, in words.
        shapes: (data, units) of the arrays `train`, `valid` and `test`, or of `X` where no split is published.
        separator: what stands between two digits of a line.
        files: those that hold `train`, `valid` and `test`; empty if no complete set of files with known checksums is
            public.

    """

    name: str
    what: str
    licence: str
    origin: str
    shapes: Mapping[str, tuple[int, int]]
    separator: str | None
    files: Mapping[str, PublishedFile]

    def cached(self, part: str) -> Path:
        """Where the file of a part is, or will be."""
        return cache_folder() / self.name / self.files[part].name

    def is_here(self) -> bool:
        """Whether every file is in the cache, at its full size."""
        found = {part: self.cached(part) for part in self.files}
        return bool(found) and all(
            path.is_file() and path.stat().st_size == self.files[part].bytes for part, path in found.items()
        )


def published_data() -> dict[str, PublishedData]:
    """Give the published data sets by their names.

    Example:
        >>> published_data()["nltcs"].shapes["train"]
        (16181, 16)

    """
    text = (package_files("pyro_helm.data") / "published.json").read_text(encoding="utf-8")
    sets = {}
    for name, entry in json.loads(text).items():
        shapes = {part: (rows, units) for part, (rows, units) in entry.pop("shapes").items()}
        files = {part: PublishedFile(**file) for part, file in entry.pop("files").items()}
        sets[name] = PublishedData(name=name, shapes=shapes, files=files, **entry)
    return sets


def cache_folder() -> Path:
    """Give the folder of downloaded files: `PYRO_HELM_CACHE`, or else the system's folder for caches."""
    import pooch

    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("pyro_helm")).expanduser()


def fetch(data: PublishedData) -> dict[str, torch.Tensor]:
    """Read a published data set from the cache, and download what is not there.

    A file is checked against its SHA-256 whenever it is read, and enters the cache only if it agrees. A file that was
    placed in the cache by hand counts like a downloaded one.

    Returns:
        `train`, `valid` and `test`, [data, units] each, of uint8.

    Raises:
        FileNotFoundError: if no files of it can be downloaded.
        ConnectionError: if a download fails. The sentence says where to place the file by hand.
        ValueError: if a file differs from the published one.

    """
    if not data.files:
        raise FileNotFoundError(
            f"data set {data.name!r} cannot be downloaded. Make {data.name}.npz with the arrays "
            f"{', '.join(data.shapes)} (0 and 1) from its origin ({data.origin}), and put it {_HOLDS_ARRAYS}"
        )
    return {part: _parse(_download(data, part), data, part) for part in data.files}


def _download(data: PublishedData, part: str) -> Path:
    import pooch  # late: most data need no network
    from requests.exceptions import RequestException

    file, path = data.files[part], data.cached(part)
    names = ", ".join(file.name for file in data.files.values())
    by_hand = f"By hand, put {names} into {path.parent}, or {data.name}.npz {_HOLDS_ARRAYS}"
    try:
        pooch.retrieve(
            file.url,
            known_hash=f"sha256:{file.sha256}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(progressbar=True, chunk_size=2**16),
        )
    except RequestException as error:
        # an old file that differs is why there was a download at all
        wrong = " The file that is there differs from the published one." if path.exists() else ""
        raise ConnectionError(
            f"could not download {file.url} for data set {data.name!r} ({type(error).__name__}).{wrong} {by_hand}"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{file.url} differs from the published file of data set {data.name!r}: expected SHA-256 {file.sha256} and "
            f"{file.bytes} bytes. Nothing was kept. Try again, as the download may have been cut off. {by_hand}"
        ) from error
    return path


def _parse(path: Path, data: PublishedData, part: str) -> torch.Tensor:
    """Read lines of digits with one separator between two of them."""
    rows, units = data.shapes[part]
    raw = np.fromfile(path, dtype=np.uint8)
    if raw.size != rows * units * 2:
        raise ValueError(f"{path} has {raw.size} bytes, expected {rows} lines of {units} digits")
    text = raw.reshape(rows, units, 2)
    ends = np.full(units, ord(data.separator or ""), dtype=np.uint8)
    ends[-1] = ord("\n")
    wrong = (text[:, :, 0] > ord("1")) | (text[:, :, 0] < ord("0")) | (text[:, :, 1] != ends)
    if wrong.any():
        row, column = np.argwhere(wrong)[0] + 1
        raise ValueError(
            f"{path}, line {row}, column {column} (counted from 1) is {text[row - 1, column - 1].tobytes()!r}, "
            f"expected 0 or 1 and {chr(ends[column - 1])!r}"
        )
    return torch.from_numpy(text[:, :, 0] - ord("0"))
