"""Who is compared: one name for each, and the table's rows of those who train side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import pandas as pd
import pyro
import torch

from analysis.benchmarks import hand_written_torch, matmuls
from analysis.benchmarks import helm_machine as ours
from analysis.benchmarks import pyro_machine as pyros
from analysis.benchmarks.setting import Setting, Start, Trainer, data, programs_with, stepper
from analysis.benchmarks.timing import Effort, Step, Timing, in_process_for_memory, peak_of, take_turns
from pyro_helm.likelihoods.importance import importance_sampling

EAGER, CAPTURED, COMPILED = "ours, eager", "ours, captured", "ours, compiled"
TORCH, JAX = "hand-written PyTorch", "hand-written JAX"
PYRO_RWS, PYRO_GRAPH, PYRO_TRACE = "Pyro ReweightedWakeSleep", "Pyro TraceGraph_ELBO", "Pyro Trace_ELBO"
NUMPYRO_GRAPH = "NumPyro TraceGraph_ELBO"
MATMULS = "matrix products alone"

SCHEMES = ("reweighted_wake_sleep", "reinforce", "vimco", "tvo", "wake_sleep", "disarm")
HAS_JAX = all(find_spec(package) is not None for package in ("jax", "optax", "numpyro"))

COLUMNS = [
    "group",
    "net",
    "scheme",
    "who",
    "varied",
    "batch",
    "particles",
    "restarts",
    "threads",
    "device",
    "unit",
    "seconds",
    "q25",
    "q75",
    "prepare_seconds",
    "peak_mib",
    "log_likelihood",
]
"""Of the table of measurements: seconds are medians with quartiles of a ``unit`` (a step, datum or start)."""


def table_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row for each measurement; what does not apply is empty."""
    counts = {name: "Int64" for name in ("batch", "particles", "restarts", "threads")}
    return pd.DataFrame(rows, columns=COLUMNS).astype(counts)


def start_of(who: str) -> Start:
    """How they start."""
    if who in (JAX, NUMPYRO_GRAPH):
        from analysis.benchmarks import hand_written_jax, numpyro_machine

        return hand_written_jax.start if who == JAX else numpyro_machine.start
    return {
        EAGER: ours.eager,
        CAPTURED: ours.captured,
        COMPILED: ours.compiled,
        TORCH: hand_written_torch.start,
        PYRO_RWS: pyros.reweighted_wake_sleep,
        PYRO_GRAPH: pyros.trace_graph_elbo,
        PYRO_TRACE: pyros.trace_elbo,
        MATMULS: matmuls.start,
    }[who]


def everyone(scheme: str, effort: Effort) -> list[str]:
    """All who train by this scheme."""
    who = [TORCH, EAGER, MATMULS]
    if not effort.quick:  # compiling takes long
        who += [CAPTURED, COMPILED]
    if HAS_JAX and scheme != "disarm" and not effort.quick:
        who.append(JAX)
    if scheme == "reweighted_wake_sleep":
        who.append(PYRO_RWS)
    if scheme == "reinforce":
        who += [PYRO_GRAPH, PYRO_TRACE]
        who += [NUMPYRO_GRAPH] if HAS_JAX and not effort.quick else []
    return who


def side_by_side(
    group: str, subjects: Sequence[tuple[str, Setting]], effort: Effort, *, block: int = 20, uncounted: int = 5
) -> list[dict[str, Any]]:
    """A row for each, in turns; those who train take equally many steps, and end with a log-likelihood."""
    torch.manual_seed(0)
    stepper(
        start_of(TORCH)(subjects[0][1]), subjects[0][1]
    )()  # what torch loads at its first step is nobody's to prepare
    trainers: dict[tuple[str, Setting], Trainer] = {}

    def make(who: str, setting: Setting) -> Step:
        trainers[who, setting] = start_of(who)(setting)
        return stepper(trainers[who, setting], setting)

    makers: dict[tuple[str, Setting], Callable[[], Step]] = {key: partial(make, *key) for key in subjects}
    timings = take_turns(makers, seconds=effort.seconds, device=effort.device, block=block, uncounted=uncounted)
    return [
        {
            **row(group, who, timings[who, setting], effort, **setting.labels),
            "log_likelihood": log_likelihood(trainers[who, setting], setting),
        }
        for who, setting in subjects
    ]


def row(group: str, who: str, timing: Timing, effort: Effort, *, unit: str = "step", **labels: Any) -> dict[str, Any]:
    """A measurement."""
    common = {"group": group, "who": who, "threads": effort.threads, "device": effort.device, "unit": unit}
    return {**common, **labels, **timing._asdict()}


def log_likelihood(trainer: Trainer, setting: Setting) -> float:
    """Of the first data, in nats per datum: whoever follows the same objective comes to about the same."""
    if trainer.weights is None:
        return math.nan
    model, guide = programs_with(trainer.weights())
    with pyro.validation_enabled(False):
        estimate = importance_sampling(model, guide, data(setting)[:200].cpu(), num_samples=100)
    return float(estimate.log_likelihood.mean())


def peak_memory(who: str, setting: Setting) -> float:
    """Mebibytes of a step above what is held between steps, in a process of its own."""
    return in_process_for_memory(_peak_memory, who, setting)


def _peak_memory(who: str, setting: Setting) -> float:
    with pyro.validation_enabled(False):
        step = stepper(start_of(who)(setting), setting)
        for _ in range(3):
            step()
        return peak_of(step)
