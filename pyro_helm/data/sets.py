"""Data by name or path: generated, shipped with scikit-learn, published, or read from a file.

Names are `shifter`, `bars`, `digits`, `NAME` for every `NAME.npz` in the folder that the environment variable
`PYRO_HELM_DATA` gives, and those of the published sets, which are downloaded. A generated or shipped set goes
before a file of the same name, a file before a download.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pyro_helm.data.bars import bars_distribution
from pyro_helm.data.checks import check_binary
from pyro_helm.data.csv_files import table_settings
from pyro_helm.data.files import SUFFIXES, array_shapes, read_file, unit_names
from pyro_helm.data.patterns import PatternDistribution, draw
from pyro_helm.data.remote import PublishedData, fetch, published_data
from pyro_helm.data.shifter import SHIFTER_SHAPE, shifter_distribution
from pyro_helm.data.splits import PARTS, split_rows
from pyro_helm.runtime.paths import expanded
from pyro_helm.runtime.pictures import images_svg
from pyro_helm.runtime.shown import Card, Shown, shortened
from pyro_helm.runtime.suggestions import unknown

__all__ = ["Data", "PatternDistribution", "available_data", "check_binary", "load_data"]

FOLDER_VARIABLE = "PYRO_HELM_DATA"

# Generated sets: the exact distribution and the shape of a picture.
_GENERATED: dict[str, tuple[Callable[[], PatternDistribution], tuple[int, int]]] = {
    "shifter": (shifter_distribution, SHIFTER_SHAPE),
    "bars": (bars_distribution, (4, 4)),
}
_GENERATED_ROWS = {"train": 20_000, "valid": 2_000, "test": 5_000}
_GENERATED_SEEDS = {"train": 0, "valid": 1, "test": 2}
_DIGITS_ROWS, _DIGITS_SHAPE, _DIGITS_THRESHOLD = 1797, (8, 8), 8

# Pictures among the published sets, whose files do not say so themselves.
_KNOWN_SHAPES = {
    "bmnist": (28, 28),
    "caltech101_silhouettes_28": (28, 28),
    "semeion": (16, 16),
    "ocr_letters": (16, 8),
}


@dataclass(frozen=True, eq=False, repr=False)  # eq: comparing tensors gives no single truth value
class Data(Shown):
    """A data set, divided into train, valid and test.

    Attributes:
        name: the name asked for, or the stem of the file.
        train, valid, test: [data, units], values 0 and 1, or numbers; NaN where missing.
        image_shape: (rows, columns) of the picture that the units make, if they do.
        distribution: the exact distribution of a generated set, else None.
        unit_names: names of the units, if they have any.

    """

    name: str
    train: torch.Tensor
    valid: torch.Tensor
    test: torch.Tensor
    image_shape: tuple[int, int] | None = None
    distribution: PatternDistribution | None = None
    unit_names: tuple[str, ...] | None = None

    def _card(self) -> Card:
        parts = {name: getattr(self, name) for name in PARTS}
        image = "" if self.image_shape is None else " that make an image of {} x {}".format(*self.image_shape)
        facts = ["rows: " + ", ".join(f"{name} {len(rows)}" for name, rows in parts.items())]
        if len(self.train):
            facts[0] += f"; of the train values {_spread(self.train)}"
        if self.distribution is not None:
            entropy = self.distribution.entropy
            facts.append(f"the exact distribution is known: {len(self.distribution.patterns)} patterns, entropy "
                         f"{entropy:.3f} nats; no model can score above {-entropy:.3f} nats per datum")  # fmt: skip
        return Card(f"Data {shortened(self.name)}: {self.train.shape[-1]} units{image}", facts)

    def _picture(self) -> str:
        shape = self.image_shape or (1, self.train.shape[-1])
        return images_svg(self.train[:10].double().reshape(-1, *shape).cpu().numpy())


def _spread(values: torch.Tensor) -> str:
    """How many are 1, or from where to where they go, and how many are missing."""
    known = values[~values.isnan()].double()
    missing = 1 - len(known) / values.numel()
    parts = [f"{missing:.1%} are missing"] if missing else []
    if bool(((known == 0) | (known == 1)).all()):
        return ", ".join([f"{float(known.mean()):.1%} are 1"] * bool(len(known)) + parts)
    return ", ".join([f"the least is {float(known.min()):g}, the largest {float(known.max()):g}", *parts])


def load_data(
    name_or_path: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
    missing: bool | Collection[str] = False,
    index: str | None = None,
    header: bool | None = None,
) -> Data:
    """Load a data set by its name, or by the path of a file.

    - `shifter`, `bars`: 20000, 2000 and 5000 draws with numpy's generator at seeds 0, 1 and 2.
    - `digits`: scikit-learn's 1797 8 by 8 digits; a pixel is 1 from half of the maximum, 8 of 16, up.
    - `NAME.npz` in the folder `PYRO_HELM_DATA`, and files: arrays `train`, `valid`, `test`; or `train` and
      `test`, with an eighth of train carved off as valid; or `X` (a `.npy` or `.csv` counts as that),
      70 % train, 10 % valid, 20 % test. Both splits follow `numpy.random.default_rng(0).permutation`. A
      `.npz` may hold `observed`, 0 where a value of `X` is not known, `names` of the units and `image_shape`, two
      integers; other arrays are ignored. A file may hold 2 GiB.
    - A `.csv` is read by :func:`read_table`, which says what it has understood of each column. Where a data set is
      named in text, in a command or a study, its settings may follow: `"survey.csv missing=-9 index=person"`.
    - The published sets of `available_data()`, where that folder has no such file: downloaded from the
      publisher into a cache (the folder `PYRO_HELM_CACHE`, or the system's for caches), checked by their SHA-256.

    Args:
        name_or_path: a name of `available_data()`, or a path (a `Path`, or a string with a folder or one
            of the three suffixes).
        dtype: of the tensors.
        missing: whether values of `X` that a file says are not `observed` are NaN, missing; else they are as in `X`.
            Of a `.csv`, more markers of missing values, `["-9"]` say.
        index: of a `.csv`, as for :func:`read_table`.
        header: likewise.

    Raises:
        FileNotFoundError: if a file does not exist, or the folder `PYRO_HELM_DATA` gives; or for a published set
            that cannot be downloaded.
        ConnectionError: if a download fails; the sentence says where to place the file by hand.
        ValueError: for an unknown name, a download that differs from the published file, or a file that does not hold
            rows of numbers: one sentence with the file, the place, what was found and what is expected.

    Example:
        >>> data = load_data("shifter")
        >>> data.train.shape, data.image_shape
        (torch.Size([20000, 32]), (4, 8))
        >>> round(data.distribution.entropy, 6)
        4.579165

    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(f"name_or_path must be the name of a data set or a path, got {name_or_path!r:.60}")
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be a type of torch, such as torch.float32, got {dtype!r}")
    table: dict[str, Any] = {}
    if isinstance(name_or_path, str):
        name_or_path, table = table_settings(name_or_path)
    given = {"index": index, "header": header, "missing": None if isinstance(missing, bool) else list(missing)}
    table |= {name: value for name, value in given.items() if value is not None}
    path = expanded(name_or_path)
    is_name = path.name == name_or_path and path.suffix.lower() not in SUFFIXES
    if not is_name:
        return _load_file(path, dtype, missing is True, table)
    if table:
        raise ValueError(f"{', '.join(table)} are for a .csv file, got {path.name!r}")
    if path.name in _GENERATED:
        return _generate(path.name, dtype)
    if path.name == "digits":
        return _load_digits(dtype)
    published = published_data().get(path.name)
    if published is not None and path.name not in _files():
        return _split(path.name, fetch(published), dtype, _KNOWN_SHAPES.get(path.name), where=path.name)
    return _load_file(_find(path.name), dtype, missing is True, {})


def available_data() -> pd.DataFrame:
    """List the data sets that have a name, without loading them.

    Columns: `name`; `source` (generated, scikit-learn, file, download, or by hand for a published set that cannot be
    downloaded); `here` (whether it loads without network); `units`; `train`, `valid` and `test` (rows); `entropy`
    (nats, of generated sets); `megabytes` (of the file or the download); `licence` and `what` (of published sets).
    Counts are missing where a file can't be used: `load_data` says why.

    Raises:
        FileNotFoundError: if `PYRO_HELM_DATA` is set, but gives no folder.

    Example:
        >>> available_data().head(3)[["name", "units", "train"]]
              name  units  train
        0  shifter     32  20000
        1     bars     16  20000
        2   digits     64   1257

    """
    rows: list[dict[str, object]] = []
    for name, (distribution, (height, width)) in _GENERATED.items():
        rows.append({"name": name, "source": "generated", "here": True, "units": height * width, **_GENERATED_ROWS,
                     "entropy": distribution().entropy})  # fmt: skip
    # Known without importing scikit-learn, which takes longer than everything else here.
    height, width = _DIGITS_SHAPE
    digits = _counts({"X": (_DIGITS_ROWS, height * width)}, where="digits")
    rows.append({"name": "digits", "source": "scikit-learn", "here": True, **digits})
    published, files = published_data(), _files()
    for name, path in files.items():
        about = {"licence": published[name].licence, "what": published[name].what} if name in published else {}
        size = path.stat().st_size / 1e6
        rows.append({"name": name, "source": "file", "here": True, "megabytes": size, **_file_counts(path), **about})
    rows += [_published_row(data) for name, data in published.items() if name not in files]
    columns = ["name", "source", "here", "units", *PARTS, "entropy", "megabytes", "licence", "what"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"units": "Int64", **dict.fromkeys(PARTS, "Int64"), "entropy": "float64",
                         "megabytes": "float64"})  # fmt: skip


def _published_row(data: PublishedData) -> dict[str, object]:
    size = sum(file.bytes for file in data.files.values()) / 1e6 if data.files else None
    return {"name": data.name, "source": "download" if data.files else "by hand", "here": data.is_here(),
            **_counts(data.shapes, where=data.name), "megabytes": size, "licence": data.licence,
            "what": data.what}  # fmt: skip


def _generate(name: str, dtype: torch.dtype) -> Data:
    make, image_shape = _GENERATED[name]
    listed = make()
    distribution = PatternDistribution(listed.patterns.to(dtype), listed.probabilities)
    draws = {
        part: draw(distribution, num_rows, seed=_GENERATED_SEEDS[part]) for part, num_rows in _GENERATED_ROWS.items()
    }
    return Data(name, draws["train"], draws["valid"], draws["test"], image_shape, distribution)


def _load_digits(dtype: torch.dtype) -> Data:
    from sklearn.datasets import load_digits  # late: it would double the time of `import pyro_helm`

    pixels = torch.from_numpy(load_digits().data)
    return _split("digits", {"X": pixels >= _DIGITS_THRESHOLD}, dtype, _DIGITS_SHAPE, where="digits")


def _load_file(path: Path, dtype: torch.dtype, missing: bool, table: Mapping[str, Any]) -> Data:
    arrays, image_shape = read_file(path, missing=missing, table=table)
    known = _KNOWN_SHAPES.get(path.stem)
    if image_shape is None and known is not None and arrays:
        units = next(iter(arrays.values())).shape[1]
        image_shape = known if known[0] * known[1] == units else None
    data = _split(path.stem, arrays, dtype, image_shape, where=str(path))
    names = unit_names(path, table)
    return replace(data, unit_names=names) if names is not None and len(names) == data.train.shape[1] else data


def _split(
    name: str,
    arrays: dict[str, torch.Tensor],
    dtype: torch.dtype,
    image_shape: tuple[int, int] | None,
    *,
    where: str,
) -> Data:
    plan = split_rows({key: len(array) for key, array in arrays.items()}, where=where)
    if not dtype.is_floating_point and any(bool(array.isnan().any()) for array in arrays.values()):
        raise ValueError(f"{where} has missing values, which are NaN and so need a floating-point dtype, got {dtype}")
    parts = {part: arrays[key][torch.from_numpy(index)].to(dtype) for part, (key, index) in plan.items()}
    return Data(name, parts["train"], parts["valid"], parts["test"], image_shape)


def _files() -> dict[str, Path]:
    """Find the usable names in the folder of `PYRO_HELM_DATA`, in order; none if it is not set."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return {}
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"{FOLDER_VARIABLE} is {folder!r}, expected an existing folder")
    built_in = {*_GENERATED, "digits"}
    return {file.stem: file for file in sorted(path.glob("*.npz")) if file.stem not in built_in}


def _find(name: str) -> Path:
    files = _files()
    if name not in files:
        known = list(dict.fromkeys([*_GENERATED, "digits", *files, *published_data()]))
        raise ValueError(
            f"{unknown('data set', name, known)}; for your own data, give the path of a .npz, .npy or .csv file, or "
            f"set {FOLDER_VARIABLE} to a folder of .npz files"
        )
    return files[name]


def _counts(shapes: Mapping[str, tuple[int, ...]], *, where: str) -> dict[str, int]:
    plan = split_rows({key: shape[0] for key, shape in shapes.items()}, where=where)
    units = shapes[plan["train"][0]][1]
    return {"units": units, **{part: len(index) for part, (_, index) in plan.items()}}


def _file_counts(path: Path) -> dict[str, int]:
    """Count units and rows from a .npz file's headers; nothing if they can't be used."""
    try:
        shapes = array_shapes(path)
        shapes.pop("image_shape", None)
        return _counts(shapes, where=str(path))
    except (ValueError, IndexError):  # IndexError: an array that lacks a dimension
        return {}
