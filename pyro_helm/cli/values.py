"""What the text of the command line's options stands for; a sentence for text that stands for nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import pyro_helm as helm
from pyro_helm.cli.completion import VISIBLE_ALONE
from pyro_helm.runtime.paths import check_writable_folder, expanded
from pyro_helm.runtime.suggestions import unknown

if TYPE_CHECKING:
    from pyro_helm.data.sets import Data, PatternDistribution  # late: --help would wait for torch
    from pyro_helm.schemes import Scheme


def checked_sizes(
    text: str | None,
    data: Data,
    *,
    model: str,
    restarts: int,
    particles: int,
    batch_size: int | None,
    device: str,
) -> tuple[int, ...]:
    """Units per layer; says on standard error what they were understood as.

    Args:
        text: such as ``32-24-2``, or ``24-2`` without the width of the data; None for the width of the data alone,
            which a user's own model may take.
        data: what is trained on.
        model: line of the model's name and settings.
        restarts: machines side by side.
        particles: draws per datum in a step.
        batch_size: data in a step; None for all, which are then in double precision.
        device: where to train.

    Raises:
        ValueError: if they are none, or the training would take more memory than there is.

    """
    from pyro_helm.experiments.machines import from_the_data_up, units_per_layer  # late: --help would wait for torch
    from pyro_helm.runtime.budget import check_training_fits

    num_rows, width = data.train.shape
    if text is None and is_own(model):
        return (width,)
    if text is None:
        raise ValueError(f"--sizes is missing; {model} needs its units per layer, such as --sizes 24-2")
    units = units_per_layer(text)
    if not units:
        raise ValueError(f"--sizes must be units per layer such as 32-24-2, got {text[:60]!r}")
    sizes = from_the_data_up(units, width)
    if not is_own(model):
        check_training_fits(
            sizes,
            restarts=restarts,
            particles=particles,
            rows=num_rows if batch_size is None else min(batch_size, num_rows),
            bytes_per_number=8 if batch_size is None else 4,
            device=device,
        )
    hidden = ", ".join(map(str, sizes[1:]))
    machine = "-".join(map(str, sizes))
    typer.echo(f"machine {machine}: {width} visible units (the width of the data), hidden {hidden}", err=True)
    return sizes


def is_own(line: str) -> bool:
    """Whether a line names a part of the user's own, ``FILE:NAME``."""
    return ":" in line.partition(" ")[0]


def distribution_of(data: Data) -> PatternDistribution:
    """The exact distribution of a generated data set; ValueError for any other."""
    if data.distribution is None:
        raise ValueError(
            f"--on-distribution needs a generated data set such as shifter; {data.name} has no distribution"
        )
    return data.distribution


def output_folder(text: str) -> Path:
    """Folder for results, with ``~`` for one's home; ValueError if it is none or can't be written."""
    return _writable_folder("--out", text)


def _writable_folder(option: str, text: str) -> Path:
    if not text.strip():
        raise ValueError(f"{option} is empty, expected a folder")
    folder = expanded(text)
    check_writable_folder(folder, f"{option} {text}")
    return folder


def output_stem(text: str) -> Path:
    """Beginning of the names of tables, with ``~`` for one's home; ValueError if they can't be written."""
    if not text.strip() or text.endswith("/") or not expanded(text).name:
        raise ValueError(f"--out is {text!r}, expected the beginning of a file's name such as results/scores")
    stem = expanded(text)
    check_writable_folder(stem.parent, f"--out {text}: {stem.parent}")
    for suffix in (".parquet", ".csv"):
        if stem.with_name(stem.name + suffix).is_dir():
            raise ValueError(f"--out {text} can't be written: {stem}{suffix} is a folder")
    return stem


def resume_folder(text: str) -> Path:
    """Folder of what is done, with ``~`` for one's home; ValueError if it is none or can't be written."""
    return _writable_folder("--resume", text)


def chosen_device(text: str) -> str:
    """Name of a device that can be computed on: the CPU or a GPU of CUDA's."""
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", text):
        raise ValueError(f"--device must be cpu, cuda or one of several as cuda:1; got {text[:60]!r}")
    from pyro_helm.runtime.device import checked_device  # late: --help would wait for torch

    return str(checked_device(text))


def chosen_names(text: str, known: Iterable[str], what: str) -> list[str]:
    """Names separated by commas, or all of them; ValueError for an unknown one."""
    if text == "all":
        return list(known)
    return [chosen_name(name.strip(), known, what) for name in text.split(",")]


def chosen_name(name: str, known: Iterable[str], what: str) -> str:
    """The name itself; ValueError for an unknown one, with what may be meant."""
    if name not in known:
        raise ValueError(unknown(what, name, known))
    return name


def check_step(name: str | None) -> None:
    """Refuse an unknown kind of step."""
    if name is None:
        return
    from pyro_helm.training.steps import STEPS  # late: --help would wait for torch

    chosen_name(name, STEPS, "kind of step")


def check_imaging(name: str | None) -> None:
    """Refuse an unknown imaging model, or one of visible layers alone."""
    if name in VISIBLE_ALONE:
        raise ValueError(
            f"--imaging is that of all layers, and hidden ones can't be {name}; use --model 'belief_network "
            f"visible={name}'"
        )
    if name is not None:
        chosen_name(name, _imaging_of_all_layers(), "imaging model")


def _imaging_of_all_layers() -> list[str]:
    from pyro_helm.layers import IMAGING  # late: --help would wait for torch

    return [name for name in IMAGING if name not in VISIBLE_ALONE]


def imaging_models(text: str | None) -> list[str] | None:
    """Imaging models separated by commas, or all of them; ValueError for an unknown one."""
    if text is None:
        return None
    if text == "all":
        return _imaging_of_all_layers()
    names = [name.strip() for name in text.split(",")]
    for name in names:
        check_imaging(name)
    return names


def check_method(method: str, start: str) -> None:
    """Refuse an unknown method of estimating log-likelihoods, or an unknown start of its chains."""
    from pyro_helm.likelihoods.ais import STARTS  # late: --help would wait for torch
    from pyro_helm.likelihoods.scores import METHODS

    chosen_name(method, METHODS, "method")
    chosen_name(start, STARTS, "start")


def new_scheme(line: str, particles: int) -> Scheme:
    """The scheme of a name and settings, with so many particles if it samples; ValueError for an unknown one."""
    from pyro_helm.experiments.scheme_settings import scheme_of  # late: --help would wait for torch

    return scheme_of(line, particles)


def chosen_schemes(text: str, particles: int) -> list[Scheme]:
    """Schemes separated by commas, or all of them; ValueError for an unknown one."""
    names = list(helm.SCHEMES) if text == "all" else lines_of(text)
    return [new_scheme(name, particles) for name in names]


def lines_of(text: str) -> list[str]:
    """Lines of names and settings, separated by commas that are in no brackets."""
    from pyro_helm.experiments.named_parts import split_outside_brackets  # late: --help would wait for torch

    return [line.strip() for line in split_outside_brackets(text, ",")]


def descent_settings(optimizer: str, batch_size: int | None, learning_rate: float | None) -> dict[str, Any]:
    """Settings of ``fit``; ValueError for a batch size or learning rate where the optimiser has no use for it."""
    from pyro_helm.experiments.optimizers import FULL_BATCH, optimizer_of  # late: --help would wait for torch

    chosen = optimizer_of(optimizer)
    if optimizer.split()[0] not in FULL_BATCH:
        return {
            "batch_size": 100 if batch_size is None else batch_size,
            "learning_rate": checked_learning_rate(0.01 if learning_rate is None else learning_rate),
            "optimizer": chosen,
        }
    if batch_size is not None:
        raise ValueError(f"--optimizer {optimizer} takes all data in every step and no --batch-size, got {batch_size}")
    if learning_rate is not None:
        raise ValueError(
            f"--optimizer {optimizer} finds its steps by line search and takes no --learning-rate, got {learning_rate}"
        )
    import torch  # late: --help would wait for it

    return {"batch_size": None, "optimizer": chosen, "dtype": torch.float64}


def checked_leak(fixed_leak: float | None) -> float | None:
    """The leak itself; ValueError if it is NaN or infinite. Its range is the imaging model's to know."""
    if fixed_leak is not None and not math.isfinite(fixed_leak):
        raise ValueError(f"--fixed-leak must be a finite number, got {fixed_leak}")
    return fixed_leak


def checked_learning_rate(learning_rate: float) -> float:
    """The learning rate itself; ValueError unless it is positive and finite."""
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"--learning-rate must be a positive number, got {learning_rate}")
    return learning_rate
