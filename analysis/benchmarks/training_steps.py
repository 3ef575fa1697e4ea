"""A training step of each scheme: ours, by hand in PyTorch and JAX, Pyro's and NumPyro's, and its matrix products."""

from __future__ import annotations

from typing import Any

from analysis.benchmarks.contenders import COMPILED, EAGER, MATMULS, SCHEMES, everyone, peak_memory, side_by_side
from analysis.benchmarks.setting import NETS, Setting
from analysis.benchmarks.timing import Effort, in_fresh_process

MEMORY_NET = "784-200-200"
MEMORY_SCHEMES = ("reweighted_wake_sleep", "reinforce")
QUICK_SCHEMES = (*MEMORY_SCHEMES, "disarm")


def measure(effort: Effort) -> list[dict[str, Any]]:
    """Times of every net in a process of its own; memory in one process for each measurement."""
    if effort.quick:
        return of_net("8-6-4", (8, 6, 4), 16, effort)
    rows = []
    for net, (sizes, batch) in NETS.items():
        of_this = in_fresh_process(of_net, net, sizes, batch, effort)
        for row in of_this:
            if (
                effort.device == "cpu"
                and net == MEMORY_NET
                and row["scheme"] in MEMORY_SCHEMES
                and row["who"] != MATMULS
            ):
                row["peak_mib"] = peak_memory(row["who"], Setting(row["scheme"], sizes, batch))
        rows += of_this
    return rows


def of_net(net: str, sizes: tuple[int, ...], batch: int, effort: Effort) -> list[dict[str, Any]]:
    """Every scheme, one after the other; all who train by it take turns."""
    rows = []
    schemes = effort.schemes or (QUICK_SCHEMES if effort.quick else SCHEMES)
    for scheme in schemes:
        setting = Setting(scheme, sizes, batch, device=effort.device)
        subjects = [(who, setting) for who in everyone(scheme, effort)]
        block, uncounted = (4, 1) if effort.quick else (20, 5)
        rows += side_by_side("training step", subjects, effort, block=block, uncounted=uncounted)
        print(f"training step, {net}, {scheme}: done", flush=True)
    # the schemes among themselves, in turns too; what was compiled above is read from the compiler's cache
    who = EAGER if effort.quick else COMPILED
    subjects = [(who, Setting(scheme, sizes, batch, device=effort.device)) for scheme in schemes]
    rows += side_by_side("schemes", subjects, effort, block=20, uncounted=5)
    return rows
