"""How much memory a machine and its training need at least, and how much there is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch

_COPIES_OF_PARAMETERS = 5  # values, gradients, Adam's two moments, and each restart's best
_COPIES_OF_DRAWS = 2  # the drawn units and their logits


def num_weights(sizes: Sequence[int], restarts: int) -> int:
    """Weights between the layers of a model, and of its guide likewise.

    >>> num_weights((32, 24, 2), restarts=8)
    6528
    """
    return restarts * sum(below * above for below, above in pairwise(sizes))


def check_training_fits(
    sizes: Sequence[int],
    *,
    restarts: int,
    particles: int,
    rows: int,
    bytes_per_number: int = 4,
    device: str | torch.device = "cpu",
) -> None:
    """Refuse a training that needs more memory than there is.

    The estimate is a lower bound: parameters with their gradients and moments, and the draws of one step.

    Args:
        sizes: units per layer.
        restarts: machines side by side.
        particles: draws per datum in a step.
        rows: data in a step.
        bytes_per_number: 4 for float32, 8 for float64.
        device: where to train.

    Raises:
        ValueError: one sentence with what is needed and what there is.

    """
    parameters = 2 * num_weights(sizes, restarts) * _COPIES_OF_PARAMETERS * bytes_per_number
    draws = particles * restarts * rows * sum(sizes) * _COPIES_OF_DRAWS * bytes_per_number
    machine = "-".join(map(str, sizes))
    check_fits(
        parameters + draws,
        f"training {machine} with {restarts} restarts, {particles} particles and {rows} data in a step",
        device,
        f"{in_words(parameters)} for parameters and {in_words(draws)} for draws",
    )


def check_fits(needed: int, what: str, device: str | torch.device, parts: str) -> None:
    """Raise ValueError if so many bytes are more than the device has free."""
    free = free_bytes(device)
    if free is not None and needed > free:
        raise ValueError(f"{what} takes at least {in_words(needed)} of memory ({parts}), but {in_words(free)} are free")


def free_bytes(device: str | torch.device = "cpu") -> int | None:
    """Memory that can still be used, in bytes; None where the system does not say."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [limit for limit in (_free_of_system(), _limit_of_container()) if limit is not None]
    return min(limits, default=None)


def _free_of_system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:  # not Linux
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has neither
        return None


def _limit_of_container() -> int | None:
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no container, or "max"
        return None


def in_words(num_bytes: float) -> str:
    """Bytes in a unit that suits them.

    >>> in_words(3 * 2**30)
    '3.0 GiB'
    """
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = max(int(num_bytes).bit_length() - 1, 0) // 10
    if power >= len(units):
        return "more than 1024 EiB"
    return f"{num_bytes / 1024**power:.1f} {units[power]}"
