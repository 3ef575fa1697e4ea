"""What the times should be, and what was measured of each goal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from analysis.benchmarks.contenders import CAPTURED, COMPILED, EAGER, JAX, PYRO_RWS, TORCH
from analysis.benchmarks.likelihood_times import OURS, PYROS
from analysis.benchmarks.scaling import NET, slopes
from analysis.benchmarks.setting import NETS
from analysis.benchmarks.start_up import HELP, IMPORT

RWS = "reweighted_wake_sleep"
SMALL_NETS = ("32-24-2", NET)
PEERS_OF_RWS = 1.2


class Goal(NamedTuple):
    """A ratio or seconds, and from where to where it may be; NaN where it was not measured."""

    what: str
    measured: float
    least: float
    most: float

    @property
    def verdict(self) -> str:
        """In words."""
        if math.isnan(self.measured):
            return "not measured"
        return "met" if self.least <= self.measured <= self.most else "falls short"


def goals_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each goal: ``goal, measured, at least, at most, verdict``."""
    goals = [*_of_steps(table), *_of_schemes(table), *_of_restarts(table), *_of_slopes(table), *_of_the_rest(table)]
    return pd.DataFrame(
        [(goal.what, goal.measured, goal.least, goal.most, goal.verdict) for goal in goals],
        columns=["goal", "measured", "at least", "at most", "verdict"],
    )


def _of_steps(table: pd.DataFrame) -> Iterator[Goal]:
    def seconds(net: str, who: str) -> float:
        return median(table, group="training step", net=net, scheme=RWS, who=who)

    for net in NETS:
        yield Goal(f"{net}: compiled / JAX", seconds(net, COMPILED) / seconds(net, JAX), 0, 1.0)
    for net in NETS:
        yield Goal(f"{net}: captured / PyTorch by hand", seconds(net, CAPTURED) / seconds(net, TORCH), 0, 1.1)
    for net in SMALL_NETS:
        best = min(seconds(net, who) for who in (COMPILED, CAPTURED, EAGER))
        yield Goal(f"{net}: best of ours / Pyro", best / seconds(net, PYRO_RWS), 0, 0.35)


def _of_schemes(table: pd.DataFrame) -> Iterator[Goal]:
    for net, (sizes, _) in NETS.items():
        base = median(table, group="schemes", net=net, scheme=RWS, who=COMPILED)
        # one forward pass more for each hidden layer, where a step is a forward pass and a backward one
        passes = 1 + (len(sizes) - 1) / 2
        for scheme in ("vimco", "reinforce", "wake_sleep", "tvo", "disarm"):
            most = PEERS_OF_RWS * (passes if scheme == "disarm" else 1)
            found = median(table, group="schemes", net=net, scheme=scheme, who=COMPILED)
            yield Goal(f"{net}: {scheme} / reweighted wake-sleep, compiled", found / base, 0, most)


def _of_restarts(table: pd.DataFrame) -> Iterator[Goal]:
    for who in (EAGER, COMPILED):
        one, many = (
            median(table, group="restarts", net="32-24-2", who=who, restarts=number) / number for number in (1, 64)
        )
        yield Goal(f"32-24-2: each of 64 restarts / one, {who}", many / one, 0, 0.25)


def _of_slopes(table: pd.DataFrame) -> Iterator[Goal]:
    found = slopes(table)
    for varied, who, slope in zip(found.varied, found.who, found.slope, strict=True):
        if who in (EAGER, COMPILED):
            yield Goal(f"slope in {varied}, {who}", slope, 0.95, 1.1)


def _of_the_rest(table: pd.DataFrame) -> Iterator[Goal]:
    product = table[table.group == "product over causes"]
    for shape in product.net.unique():
        fused, matmul = (median(product, net=shape, who=who) for who in ("fused", "matmul"))
        yield Goal(f"product over causes {shape} / matmul", fused / matmul, 0, 10)
    pyros = median(table, group="likelihoods", scheme="importance", who=PYROS)
    yield Goal("importance: Pyro / ours", pyros / median(table, group="likelihoods", scheme="importance", who=OURS),
               5, math.inf)  # fmt: skip
    yield Goal(f"{IMPORT}, s", median(table, group="start-up", who=IMPORT), 0, 0.3)
    yield Goal(f"{HELP}, s", median(table, group="start-up", who=HELP), 0, 1.0)


def median(table: pd.DataFrame, **labels: object) -> float:
    """Seconds of the row with these labels; NaN if there is none."""
    rows = table
    for column, value in labels.items():
        rows = rows[rows[column] == value]
    return float(rows.seconds.iloc[0]) if len(rows) else math.nan
