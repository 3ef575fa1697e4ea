"""How often the machine of Fig. 4 of Dayan, Hinton, Neal & Zemel 1995 comes out, after how many iterations.

    python -m analysis.paper.many_iterations --out results/paper

As in the paper, the machine is deterministic, of odds units (A.3), with fixed biases of 0.05 in layers 2 and 3 and
learned ones to layer 3 besides, and is trained by conjugate gradient. Ours are: the exact mean of A.2 under *two* top
units, where the paper says "only three"; that every pattern takes part, by its probability; that conjugate gradient
begins anew every 100 iterations; and the starts (``STARTS``), since the paper does not tell its initial values. It
*comes out* if each of the two top units by itself tells the direction, of opposite signs, and the two together that of
99 %, all by the means of recognition. Writes ``OUT/many_iterations.csv``, a row per machine and number of iterations:
its own loss F, what its means tell, and log p and the direction by the stochastic rule beside it; and
``OUT/fig4_machine.safetensors``, the best machine. Beside the threshold, which may be low, is told in what part of the
patterns of its own direction a top unit has a mean above 1/2. The trainings are in ``OUT/many_iterations``; the same
command goes on where it was ended.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.shifter_training import (
    SOLVED_ACCURACY,
    Machine,
    best_threshold,
    free_energies,
    judge,
    new_machine,
    unambiguous,
)
from pyro_helm.guides import FactorialRecognition
from pyro_helm.runtime.atomic_files import atomic_path

ITERATIONS = (100, 300, 1000, 3000)
PER_STEP = 100
LOWER_STEPS = 2
"""Of the pixels and layer 2 by themselves, before all layers: 200 iterations."""
TUNED = 0.9
"""Part of the directions that a unit tells by itself, from which on it is said to be tuned to the shift."""
STARTS: dict[str, dict[str, Any]] = {
    "at once": {"layerwise": False, "bias": None},
    "layer by layer": {"layerwise": True, "bias": -3.0},
    "at once, few causes": {"layerwise": False, "bias": -3.0},
}
"""Whether layer 2 is trained before layer 3, and the recognition biases of layer 2; None for the library's, near 0."""


def trained(
    out: Path, start: str, iterations: int, *, restarts: int, seed: int, per_step: int = PER_STEP, imaging: str = "odds"
) -> tuple[Machine, float]:
    """The machines after so many iterations of all layers, and the seconds of training; goes on in its folder."""
    layerwise, bias = STARTS[start].values()
    model, guide = new_machine(restarts, seed, imaging, bias=bias)
    scheme, distribution = helm.MeanField(), helm.load_data("shifter").distribution
    assert distribution is not None
    stages = [helm.Stage(scheme, iterations // per_step)]
    if layerwise:
        stages.insert(0, helm.Stage(scheme, LOWER_STEPS, layers=2))
    result = helm.fit_in_stages(
        model, guide, distribution, stages=stages, batch_size=None, dtype=torch.float64,
        optimizer=partial(helm.ConjugateGradient, iterations=per_step), seed=seed, progress=False,
        out=folder(out, start, seed), resume=True,
    )  # fmt: skip
    if result.interrupted:
        raise SystemExit(130)
    return (model, guide), float(result.history.seconds.max())


def read_off_means(guide: FactorialRecognition, data: helm.Data) -> dict[str, list[Any]]:
    """What the top layer tells of the direction by its means, without draws: a value per restart."""
    x, left, right = unambiguous(data)
    with torch.no_grad():
        q = guide.mean_field({"x": x.to(guide.recognition[0].weight)})[-1].mean.double()
    q = q.reshape(guide.restarts, len(x), -1)
    axis = (left @ q) / left.sum() - (right @ q) / right.sum()
    both, _ = told_by_threshold((q @ axis[:, :, None])[..., 0], left, right)
    (first, first_is_left), (second, second_is_left) = (told_by_threshold(unit, left, right) for unit in q.unbind(-1))
    weaker = torch.minimum(first, second)
    found = (both >= SOLVED_ACCURACY) & (weaker >= TUNED) & (first_is_left != second_is_left)
    own = torch.where((axis > 0)[..., None], left, right)  # [restarts, units, data]
    half = (((q.mT > 0.5) * own).sum(-1) / own.sum(-1)).amin(-1)
    return {
        "told_by_means": both.tolist(),
        "told_by_the_weaker_unit": weaker.tolist(),
        "above_half_of_the_weaker_unit": half.tolist(),
        "found": found.tolist(),
    }


def told_by_threshold(
    place: torch.Tensor, left: torch.Tensor, right: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Part of the directions that a threshold tells, and whether left is above it, ``[restarts]``."""
    threshold, left_above = best_threshold(place, left, right)
    told = torch.where((place > threshold) == left_above, left, right).sum(-1) / (left + right).sum()
    return told, left_above[:, 0]


def judged(machine: Machine, data: helm.Data, num_samples: int) -> pd.DataFrame:
    """The deterministic machine by itself, and by the stochastic rule beside it: a row per restart."""
    f = free_energies(helm.MeanField(), machine, data.distribution)
    own = pd.DataFrame({"f": f.tolist(), **read_off_means(machine[1], data)})
    return own.join(judge(machine, data, num_samples=num_samples))


def keep_best(out: Path, table: pd.DataFrame) -> Path:
    """Save the best of the machines that have come furthest, alone: of those that come out the one of the lowest F."""
    furthest = table[table.iterations == table.groupby(["start", "seed"]).iterations.transform("max")]
    best = furthest.sort_values(["found", "f"], ascending=[False, True]).iloc[0]
    machine = helm.load(folder(out, best.start, best.seed))
    f = free_energies(helm.MeanField(), machine, helm.load_data("shifter").distribution)[best.restart]
    if abs(float(f) - best.f) > 1e-4:
        raise ValueError(
            f"the machines in {folder(out, best.start, best.seed)} are not those after {best.iterations} iterations, "
            "the last in the table; go on with the same command"
        )
    alone: tuple[torch.nn.Module, ...] = new_machine(1, 0)
    for part, whole in zip(alone, machine, strict=True):
        # fixed leaks are one number for all restarts
        own = {name: v[best.restart][None] if v.dim() else v for name, v in whole.state_dict().items()}
        part.double().load_state_dict(own)
    path = out / "fig4_machine.safetensors"
    helm.save(path, *alone)
    return path


def folder(out: Path, start: str, seed: int) -> Path:
    """Of the training of these machines."""
    return out / "many_iterations" / f"{start.replace(', ', '-').replace(' ', '_')}-{seed}"


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per start and number of iterations."""
    return table.groupby(["start", "iterations"], sort=False).agg(
        restarts=("found", "size"),
        found=("found", "sum"),
        f=("f", "median"),
        f_best=("f", "min"),
        told_by_means=("told_by_means", "median"),
        log_likelihood=("log_likelihood", "median"),
        log_likelihood_best=("log_likelihood", "max"),
        direction=("accuracy", "median"),
    )


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table and the machines.")] = Path("results/paper"),
    starts: Annotated[str, typer.Option(help="Starts, separated by semicolons.")] = ";".join(STARTS),
    most: Annotated[int, typer.Option(help="Iterations at most.")] = ITERATIONS[-1],
    restarts: Annotated[int, typer.Option(help="Machines per start.")] = 8,
    seed: Annotated[int, typer.Option(help="Of initial values.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Two machines, two iterations.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, judge, write and print."""
    torch.set_num_threads(threads)
    data = helm.load_data("shifter")
    file = out / "many_iterations.csv"
    table = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["start", "seed", "iterations"])
    training: dict[str, Any] = {"restarts": 2, "per_step": 1} if quick else {"restarts": restarts}
    for iterations in (1, 2) if quick else [number for number in ITERATIONS if number <= most]:
        for start in starts.split(";"):
            if ((table.start == start) & (table.seed == seed) & (table.iterations == iterations)).any():
                continue
            machine, seconds = trained(out, start, iterations, seed=seed, **training)
            rows = judged(machine, data, 10 if quick else 500)
            rows = rows.assign(start=start, seed=seed, iterations=iterations, seconds=seconds)
            table = pd.concat([table, rows], ignore_index=True) if len(table) else rows
            with atomic_path(file) as path:
                table.to_csv(path, index=False, float_format="%.6g")
    typer.echo(keep_best(out, table))
    typer.echo(summary(table).reset_index().to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    typer.run(main)
