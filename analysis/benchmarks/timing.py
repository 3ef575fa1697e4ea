"""Time and memory, measured so that those who are compared can be compared.

They take turns in one process: each runs a block of steps, of which the first are not counted, since another's threads
and caches were active before, then the next one. So a drift of the computer's speed hits all alike.
"""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np
import pyro
import torch

from pyro_helm.runtime.device import wait_for

Step = Callable[[], object]
Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")
Name = TypeVar("Name", bound=Hashable)
_THRESHOLD = "MALLOC_MMAP_THRESHOLD_"  # of the GNU library


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        threads: of torch and XLA.
        seconds: for each comparison, once everyone is ready.
        quick: a little of each, to see that all works.
        device: where all compute.
        schemes: whose steps are measured; all where none is named.

    """

    threads: int = 2
    seconds: float = 5.0
    quick: bool = False
    device: str = "cpu"
    schemes: tuple[str, ...] = ()


class Timing(NamedTuple):
    """Median and quartiles of a step, and what it took to get ready, in seconds."""

    seconds: float
    q25: float
    q75: float
    prepare_seconds: float

    @classmethod
    def of(cls, times: Sequence[float], prepare_seconds: float = 0.0) -> Timing:
        """Of measured times."""
        low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
        return cls(float(middle), float(low), float(high), prepare_seconds)

    def divided_by(self, number: int) -> Timing:
        """Of one of so many things that a step does."""
        return Timing(self.seconds / number, self.q25 / number, self.q75 / number, self.prepare_seconds)


def take_turns(
    subjects: Mapping[Name, Callable[[], Step]],
    *,
    seconds: float,
    device: str = "cpu",
    rounds: int = 2,
    block: int = 20,
    uncounted: int = 5,
    first_steps: int = 3,
) -> dict[Name, Timing]:
    """Time of a step of each.

    Args:
        subjects: each makes its step. Making it and taking the first steps, which trace and compile, is
            what ``prepare_seconds`` measures.
        seconds: rounds are taken until this is spent.
        device: a step is over when all that it has asked of this one is done.
        rounds: at least so many.
        block: steps of a turn.
        uncounted: of these, those at the start that are not counted.
        first_steps: taken by each before the rounds.

    """
    with pyro.validation_enabled(False):
        steps: dict[Name, Step] = {}
        prepare: dict[Name, float] = {}
        for name, make in subjects.items():
            began = time.perf_counter()
            steps[name] = partial(_to_its_end, make(), torch.device(device))
            for _ in range(first_steps):
                steps[name]()
            prepare[name] = time.perf_counter() - began
        times: dict[Name, list[float]] = {name: [] for name in subjects}
        began, taken = time.perf_counter(), 0
        while taken < rounds or time.perf_counter() - began < seconds:
            for name, step in steps.items():
                times[name] += _block(step, block)[uncounted:]
            taken += 1
    return {name: Timing.of(times[name], prepare[name]) for name in subjects}


def _to_its_end(step: Step, device: torch.device) -> None:
    step()
    wait_for(device)


def _block(step: Step, number: int) -> list[float]:
    times = []
    for _ in range(number):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return times


def use(device: str, threads: int) -> None:
    """Have this process and those that it starts compute there, whatever library they use; before those load."""
    os.environ["JAX_PLATFORMS"] = device
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # or else it would take the GPU's memory for itself
    _use_threads(threads)


def _use_threads(number: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(number)
    os.environ["NPROC"] = str(number)  # the size of XLA's thread pools
    if number == 1:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    if hasattr(os, "sched_setaffinity"):  # and no more cores than that, for threads that no setting reaches
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])


def in_fresh_process(
    function: Callable[Arguments, Found], *arguments: Arguments.args, **settings: Arguments.kwargs
) -> Found:
    """What a function finds in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(function, *arguments, **settings).result()


def in_process_for_memory(
    function: Callable[Arguments, Found], *arguments: Arguments.args, **settings: Arguments.kwargs
) -> Found:
    """What :func:`peak_of` finds in a process that gives every array back to the system once it is freed.

    Otherwise freed memory is kept and taken again without a trace, by some libraries more than by others.
    """
    before = os.environ.get(_THRESHOLD)
    os.environ[_THRESHOLD] = str(2**16)
    try:
        return in_fresh_process(function, *arguments, **settings)
    finally:
        del os.environ[_THRESHOLD]
        if before is not None:
            os.environ[_THRESHOLD] = before


def peak_of(step: Step) -> float:
    """Mebibytes that a step takes above what the process holds before it; NaN where the system does not tell.

    Gradients that are kept from one step to the next are held before it, and are not counted.
    """
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return math.nan
    gc.collect()
    _give_back_freed_memory()
    clear.write_text("5")  # the peak so far is forgotten
    before = _kibibytes(status, "VmRSS")
    step()
    return (_kibibytes(status, "VmHWM") - before) / 1024


def _give_back_freed_memory() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU library; what a compiler has freed, say
    if trim is not None:
        trim(0)


def _kibibytes(status: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))
