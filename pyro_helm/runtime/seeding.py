"""Random numbers apart from the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def rng_state(device: torch.device) -> torch.Tensor:
    """Where the random numbers of a device stand, bytes."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


@contextmanager
def forked_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from this seed; the caller's random state is unchanged afterwards."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # torch.manual_seed would seed the GPUs that are not forked too, and where there is none queue it, call by call
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed_all(seed)
        yield
