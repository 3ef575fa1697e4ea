"""Solve the shifter by one call of the library's, and leave out its ingredients one by one.

    python -m analysis.paper.solve_shifter --out results/paper

The machine is that of Fig. 4 of Dayan, Hinton, Neal & Zemel 1995 as in ``shifter_training.py``, the call that of
:func:`solve`. *Solved* is within 0.25 nats of the best machine known with units of its kind, with 99 % of the
directions read off the top layer. Writes ``OUT/solve_shifter.csv``, a row per variant: how many restarts are solved,
the median and the worst log-likelihood (nats per pattern, 500 samples, exact distribution, stochastic rule), how many
machines have a unit for each of the 16 pairs of a pixel and its copy, and the seconds of training on one thread (of
the process, so that other jobs do not count). Variants that the file has already, of the same seed, are left as they
are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.attainable import ATTAINABLE
from analysis.paper.shifter_training import LEAK, SIZES, Machine, judge, solved
from analysis.paper.weights import units_of_pairs
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.atomic_files import atomic_path

RWS = helm.ReweightedWakeSleep(5)
PAIRS = helm.Stage(helm.MeanField(), 3, layers=2, learning_rate=0.06)
AGAIN = replace(PAIRS, num_epochs=2)
"""The lower layers again: Adam begins anew, and its first steps move every weight, those of silent units too."""
WHOLE = helm.Stage(RWS, 16, learning_rate=0.03, schedule="cosine")
SLOWER = replace(PAIRS, num_epochs=4, learning_rate=0.03)
SIGMOID = helm.Stage(helm.ReweightedWakeSleep(20), 5, layers=2, learning_rate=0.03)
EARLIER = (SLOWER, helm.Stage(helm.ReweightedWakeSleep(10), 8, learning_rate=0.02, schedule="cosine"))
"""Stages of an earlier call, whose recognition biases began at -3."""


def sparse_prior(imaging: str) -> dict[str, Any]:
    """Fixed leaks of 0.05 in both hidden layers, learned ones at the top besides: few causes are on."""
    leak = math.log(LEAK) if imaging == "sigmoid" else LEAK
    return {"fixed_leak": (None, leak, leak), "learned_leak": (True, False, True)}


def solve(
    *,
    restarts: int,
    seed: int = 0,
    imaging: str = "odds",
    prior: dict[str, Any] | None = None,
    bias: float | tuple[float | None, ...] | None = -2.0,
    pixel_leak: float | None = None,
    stages: Sequence[helm.Stage] = (PAIRS, AGAIN, WHOLE),
    data: helm.Data | None = None,
    rows: int | None = None,
) -> Machine:
    """The machine that the call of the page solves the shifter with, trained; arguments are what a variant changes."""
    x = (helm.load_data("shifter") if data is None else data).train[:rows]
    sizes = (x.shape[-1], *SIZES[1:])
    prior = sparse_prior(imaging) if prior is None else prior
    prior = {**prior, "initial_leak": (pixel_leak, None, None)}
    model = BeliefNetwork(sizes, imaging, restarts=restarts, seed=seed, **prior)
    guide = FactorialRecognition(sizes, initial_bias=bias, restarts=restarts, seed=seed)
    helm.fit_in_stages(model, guide, x, stages=stages, seed=seed, progress=False)
    return model, guide


VARIANTS: dict[str, dict[str, Any]] = {
    "the call": {},
    "lower layers once": {"stages": (PAIRS, WHOLE)},
    "lower layers once, recognition biases near 0 at the top": {"stages": (PAIRS, WHOLE), "bias": (-2.0, None)},
    "all layers at once": {"stages": (replace(PAIRS, layers=None), replace(AGAIN, layers=None), WHOLE)},
    "recognition biases near 0": {"bias": None},
    "recognition biases near 0 at the top": {"bias": (-2.0, None)},
    "hidden leaks learned, none fixed": {"prior": {}},
    "no mean field: lower layers by RWS": {"stages": (replace(PAIRS, scheme=RWS), replace(AGAIN, scheme=RWS), WHOLE)},
    "no stage of the lower layers": {"stages": (WHOLE,)},
    "no RWS: all layers by mean field": {"stages": (PAIRS, AGAIN, replace(WHOLE, scheme=helm.MeanField()))},
    "lower layers at a rate of 0.01": {
        "stages": (replace(PAIRS, learning_rate=0.01), replace(AGAIN, learning_rate=0.01), WHOLE)
    },
    "RWS from a rate of 0.01": {"stages": (PAIRS, AGAIN, replace(WHOLE, learning_rate=0.01))},
    "RWS at a constant rate": {"stages": (PAIRS, AGAIN, replace(WHOLE, schedule=None))},
    "RWS for 4 epochs": {"stages": (PAIRS, AGAIN, replace(WHOLE, num_epochs=4))},
    "noisy-or units": {"imaging": "noisy_or"},
    "noisy-or units, lower layers more slowly": {"imaging": "noisy_or", "stages": (SLOWER, WHOLE), "bias": -3.0},
    "sigmoid units": {"imaging": "sigmoid", "stages": (SIGMOID, WHOLE), "bias": -3.0, "pixel_leak": -4.0},
    "an earlier call": {"stages": EARLIER, "bias": (-3.0, None)},
    "an earlier call, all layers at once": {
        "stages": (replace(SLOWER, layers=None), EARLIER[1]),
        "bias": (-3.0, None),
    },
    "an earlier call, recognition biases near 0": {"stages": EARLIER, "bias": None},
}
"""The call, and what each variant changes in it."""


def has_all_pairs(model: BeliefNetwork, pairs: torch.Tensor | None = None) -> torch.Tensor:
    """Whether each pair of a pixel and its shifted copy has a unit of its own, ``[restarts]``.

    A unit is for a pair if it gives odds above 1 to its pixels and to no other. ``pairs`` are masks of them,
    ``[pairs, units]``; None for the 16 of the shifter, with the two copies of each row.
    """
    return units_of_pairs(model, pairs).any(1).all(-1)


def row(name: str, restarts: int, seed: int, *, quick: bool) -> dict[str, Any]:
    """Train and judge a variant."""
    changes = dict(VARIANTS[name])
    if quick:
        stages = changes.get("stages", (PAIRS, AGAIN, WHOLE))
        changes |= {"stages": [replace(each, num_epochs=1) for each in stages], "rows": 200}
    began = time.process_time()
    machine = solve(restarts=restarts, seed=seed, **changes)
    seconds = time.process_time() - began
    imaging = changes.get("imaging", "odds")
    table = judge(machine, helm.load_data("shifter"), num_samples=10 if quick else 500)
    return {
        "variant": name,
        "seed": seed,
        "restarts": restarts,
        "solved": int(solved(table, ATTAINABLE[imaging]).sum()),
        "log_likelihood_median": table.log_likelihood.median(),
        "log_likelihood_worst": table.log_likelihood.min(),
        "accuracy_median": table.accuracy.median(),
        "with_all_pairs": int(has_all_pairs(machine[0]).sum()),
        "seconds": round(seconds),
    }


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    variants: Annotated[str, typer.Option(help="Names separated by semicolons.")] = ";".join(VARIANTS),
    restarts: Annotated[int, typer.Option(help="Machines of the call itself.")] = 64,
    others: Annotated[int, typer.Option(help="Machines of each other variant.")] = 16,
    seed: Annotated[int, typer.Option(help="Of initial values, minibatches and draws.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each stage.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, judge, write and print."""
    torch.set_num_threads(threads)
    file = out / "solve_shifter.csv"
    table = pd.read_csv(file) if file.exists() else pd.DataFrame()
    for name in variants.split(";"):
        if len(table) and ((table.variant == name) & (table.seed == seed)).any():
            continue
        found = row(name, restarts if name == "the call" else others, seed, quick=quick)
        table = pd.concat([table, pd.DataFrame([found])], ignore_index=True)
        with atomic_path(file) as path:
            table.to_csv(path, index=False, float_format="%.4f")
        typer.echo(table.tail(1).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
