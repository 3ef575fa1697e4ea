"""How the time of a step of reweighted wake-sleep grows with particles, minibatch, width of a layer and restarts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.benchmarks.contenders import COMPILED, EAGER, HAS_JAX, JAX, side_by_side
from analysis.benchmarks.setting import NETS, Setting
from analysis.benchmarks.timing import Effort, in_fresh_process

SCHEME = "reweighted_wake_sleep"
NET = "64-32-16"
RESTARTS = {"32-24-2": (1, 4, 16, 64), NET: (1, 4, 16, 64, 256)}
"""In a batch."""

POINTS = {"particles": (2, 8, 16, 32, 64), "batch": (32, 128, 512, 1024, 2048), "width": (32, 128, 512, 1024, 2048)}
"""Width is that of the lower hidden layer, so that all of the work should grow in proportion to it."""

VARIED = (*POINTS, "restarts")


def measure_restarts(effort: Effort) -> list[dict[str, Any]]:
    """Machines in a batch, on the two small nets."""
    if effort.quick:
        return _of_restarts((8, 6, 4), 16, (1, 4), effort)
    return [
        row for net, numbers in RESTARTS.items() for row in in_fresh_process(_of_restarts, *NETS[net], numbers, effort)
    ]


def _of_restarts(sizes: tuple[int, ...], batch: int, numbers: tuple[int, ...], effort: Effort) -> list[dict[str, Any]]:
    settings = [Setting(SCHEME, sizes, batch, restarts=number, device=effort.device) for number in numbers]
    return _compare("restarts", "restarts", settings, [EAGER] if effort.quick else [EAGER, COMPILED], effort)


def measure_scaling(effort: Effort) -> list[dict[str, Any]]:
    """All but restarts, which are a group of their own."""
    if effort.quick:
        points = {"particles": (2, 4), "batch": (8, 16), "width": (4, 8)}
        return [row for varied, values in points.items() for row in _of_varied(varied, values, effort)]
    return [row for varied, values in POINTS.items() for row in in_fresh_process(_of_varied, varied, values, effort)]


def _of_varied(varied: str, values: tuple[int, ...], effort: Effort) -> list[dict[str, Any]]:
    settings = [_with(Setting(SCHEME, *NETS[NET], device=effort.device), varied, value) for value in values]
    who = [EAGER] if effort.quick else [EAGER, COMPILED, *([JAX] if HAS_JAX else [])]
    return _compare("scaling", varied, settings, who, effort)


def _with(usual: Setting, varied: str, value: int) -> Setting:
    if varied == "width":
        return replace(usual, sizes=(usual.sizes[0], value, usual.sizes[2]))
    return replace(usual, particles=value) if varied == "particles" else replace(usual, batch=value)


def _compare(group: str, varied: str, settings: list[Setting], who: list[str], effort: Effort) -> list[dict[str, Any]]:
    subjects = [(name, setting) for name in who for setting in settings]
    rows = side_by_side(group, subjects, effort, block=3 if effort.quick else 8, uncounted=1 if effort.quick else 2)
    print(f"{group}, {varied}: done", flush=True)
    return [{**row, "varied": varied} for row in rows]


def curves(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of one net and all that was varied, with the value of it as ``value``."""
    rows = table[(table.group == "scaling") | ((table.group == "restarts") & (table.net == NET))]
    width = pd.to_numeric(rows.net.str.split("-").str[1])
    value = width.where(rows.varied == "width", rows.restarts)
    for varied in ("particles", "batch"):
        value = value.where(rows.varied != varied, rows[varied])
    return rows.assign(value=value)


def slopes(table: pd.DataFrame) -> pd.DataFrame:
    """Of log time against the log of what was varied, over the upper half of the points: 1 is in proportion."""
    found = [
        {"varied": varied, "who": who, "slope": _slope_of_upper_half(curve.sort_values("value"))}
        for (varied, who), curve in curves(table).groupby(["varied", "who"], sort=False)
        if len(curve) > 1
    ]
    return pd.DataFrame(found, columns=["varied", "who", "slope"])


def _slope_of_upper_half(curve: pd.DataFrame) -> float:
    upper = curve.iloc[min(len(curve) // 2, len(curve) - 2) :]
    return float(np.polyfit(np.log(upper.value.to_numpy(float)), np.log(upper.seconds.to_numpy(float)), 1)[0])
