"""What lateral layers, other guides, categorical groups and trunks bring, and what a step of each costs.

    PYRO_HELM_DATA=FOLDER python -m analysis.suite --out results/suite

Trains machines of two hidden layers (40-20) by reweighted wake-sleep on digits, ocr_letters, adult and mushrooms, three
restarts each, with the parameters that were best on validation data. A study: what is there is not trained again.
Prints the table and writes ``OUT/suite.csv``, one row per data set and machine:

- ``log_likelihood``, by importance sampling, and how far ``-F`` is below it (``gap``), on up to 2000 test rows, in nats
  per datum, means of the restarts; ``stderr``, of that mean over restarts;
- ``ms_per_step``, of all restarts, measured in turns on one thread at the end, and ``cost``, its ratio to the plain
  machine's.

The attributes of adult and mushrooms are groups of units of which one is on. Where an attribute of adult is missing
none is, so that it gets one more unit here; the attribute of mushrooms with one value is left out. All machines see the
same units.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.experiments.console import print_table
from pyro_helm.experiments.step_times import measured_step_times
from pyro_helm.runtime.atomic_files import atomic_path

HIDDEN = "sigmoid 40-20"
GROUPS = {
    "adult": (5, 8, 5, 16, 5, 7, 14, 6, 5, 2, 2, 2, 5, 41),
    "mushrooms": (6, 4, 10, 2, 9, 2, 2, 2, 12, 2, 4, 4, 9, 9, 1, 4, 3, 5, 9, 6, 7),
}
"""Units of each attribute, in their order."""
PICTURES = {"digits": (8, 8), "ocr_letters": (16, 8)}
GUIDES = {
    "lateral recognition": "lateral_recognition",
    "iterative recognition": "iterative_recognition",
    "autoregressive recognition": "autoregressive_recognition blocks=5",
}
NUM_TEST = 2000


def machines_for(name: str, groups: tuple[int, ...] | None) -> list[dict[str, Any]]:
    """The machines that suit a data set, as a study takes them, the plain one first."""
    autoregressive = {"lateral": True, "blocks": 8, "guide": "autoregressive_recognition blocks=8"}
    arguments: dict[str, dict[str, Any]] = {"plain": {}}
    arguments |= {label: {"guide": guide} for label, guide in GUIDES.items()}
    arguments["lateral layers"] = autoregressive
    if groups is not None:
        arguments["groups"] = {"visible": "categorical", "groups": list(groups)}
        arguments["groups, lateral layers"] = {**arguments["groups"], **autoregressive}
    if name in PICTURES:
        arguments["convolution"] = {"guide": f"analysis.suite:with_convolution height={PICTURES[name][0]}"}
    return [{"machine": HIDDEN, "name": label, "arguments": given} for label, given in arguments.items()]


def with_convolution(sizes: tuple[int, ...], restarts: int, seed: int, height: int) -> helm.FactorialRecognition:
    """Factorial recognition behind a convolution of 5 x 5 pixels."""
    picture = nn.Unflatten(-1, (1, height, sizes[0] // height))
    trunk = nn.Sequential(picture, nn.Conv2d(1, 8, 5), nn.ReLU(), nn.Flatten())
    return helm.FactorialRecognition(sizes, trunk=trunk, restarts=restarts, seed=seed)


def data_for(name: str) -> tuple[helm.Data, tuple[int, ...] | None]:
    """A data set with as many test rows as are scored, and its groups, each with one unit on in every row."""
    data = helm.load_data(name)
    data = replace(data, test=data.test[:NUM_TEST])
    groups = GROUPS.get(name)
    if groups is None:
        return data, None
    parts = [data.train, data.valid, data.test]
    whole = [bool(each.sum(-1).eq(1).all()) for each in torch.cat(parts).split(groups, -1)]
    sizes = tuple(size + (not is_whole) for size, is_whole in zip(groups, whole, strict=True))
    train, valid, test = (in_whole_groups(part, groups, whole) for part in parts)
    return helm.Data(name, train, valid, test), tuple(size for size in sizes if size > 1)


def in_whole_groups(rows: Tensor, groups: tuple[int, ...], whole: list[bool]) -> Tensor:
    """Rows with one more unit behind each group that is not whole, on where no other is, and no groups of one unit."""
    found = []
    for part, is_whole in zip(rows.split(groups, -1), whole, strict=True):
        if not is_whole:
            found += [part, 1 - part.sum(-1, keepdim=True)]
        elif part.shape[-1] > 1:
            found.append(part)
    return torch.cat(found, -1)


def summary(study: helm.Study) -> pd.DataFrame:
    """One row per data set and machine, as the module says."""
    table = study.table()
    wide = table[table.split == "test"].pivot_table(
        index=["dataset", "machine", "restart"], columns="metric", values="value", sort=False
    )
    wide["gap"] = wide.log_likelihood - wide.elbo
    per_machine = wide.groupby(["dataset", "machine"], sort=False)
    found = per_machine[["log_likelihood", "gap"]].mean()
    found.insert(1, "stderr", per_machine.log_likelihood.sem())
    times = measured_step_times(study.plan, study.folder)
    found["ms_per_step"] = times.set_index(["dataset", "machine"]).ms_per_step
    plain = found.ms_per_step.xs("plain", level="machine")
    found["cost"] = found.ms_per_step / plain.reindex(found.index.get_level_values("dataset")).to_numpy()
    return found.reset_index()


def main(
    out: Annotated[Path, typer.Option(help="Folder for the study and the table.")] = Path("results/suite"),
    data: Annotated[str, typer.Option(help="Data sets.")] = "digits,ocr_letters,adult,mushrooms",
    steps: Annotated[int, typer.Option(help="Training steps of each machine.")] = 6000,
    restarts: Annotated[int, typer.Option(help="Machines of each kind.")] = 3,
    workers: Annotated[int, typer.Option(help="Processes that train at a time, one thread each.")] = 1,
) -> None:
    """Train, score, print."""
    chosen = {name: data_for(name) for name in data.split(",")}
    study = helm.Study(
        out,
        name="suite",
        question="What do lateral layers, other guides, groups and trunks bring?",
        datasets=[{"data": rows, "machines": machines_for(name, groups)} for name, (rows, groups) in chosen.items()],
        schemes=["reweighted_wake_sleep"],
        settings={"num_particles": 5, "learning_rate": 0.01, "schedule": "cosine", "batch_size": 100},
        budget=f"{steps} steps",
        restarts=restarts,
        scores={"num_samples": 500, "splits": ["test"]},
    )
    study.run(workers=workers)
    table = summary(study)
    print_table(table, "Test log-likelihood and its bound, in nats per datum")
    with atomic_path(out / "suite.csv") as path:
        table.round(4).to_csv(path, index=False)


if __name__ == "__main__":
    typer.run(main)
