"""Fig. 4's machine without its inhibitory side lobes (Dayan, Hinton, Neal & Zemel 1995, section 3 and Fig. 4).

    python -m analysis.paper.side_lobes --out results/paper

Recognition weights from pixels to the tuned units of layer 2 that are negative are set to zero in the machine that
``many_iterations.py`` keeps, all or those of the rival pixels alone (``weights.py``), and nothing is trained again. A
response is *false* if a unit that is tuned to a single pair is on, by its mean (q > 1/2), in an unambiguous pattern of
the other direction or without its pixel, and *missed* if it is off where its pair is there. Writes
``OUT/side_lobes.csv``: the deterministic F (nats per pattern), false and missed responses a pattern, and the part of
the directions that the two top units tell by their means.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor

import pyro_helm as helm
from analysis.paper.many_iterations import read_off_means
from analysis.paper.shifter_training import Machine, free_energies, unambiguous
from analysis.paper.weights import MACHINE, rivals, shifted_pairs, units_of_pairs
from pyro_helm.runtime.atomic_files import atomic_path


def without(machine: Machine, which: str) -> Machine:
    """A copy without negative weights to units of one pair, from ``"none"``, ``"rivals"`` or ``"all"`` pixels."""
    model, guide = copy.deepcopy(machine)
    of_pair = units_of_pairs(model)[0]
    tuned, rival = of_pair.any(-1), (of_pair[..., None] & rivals()).any(1)
    where = {"none": torch.zeros_like(rival), "rivals": rival, "all": tuned[:, None].expand_as(rival)}[which]
    with torch.no_grad():
        weight = guide.recognition[0].weight_unconstrained[0]
        weight.masked_fill_(where.mT & (weight < 0), 0.0)
    return model, guide


def responses(machine: Machine, of_pair: Tensor, data: helm.Data) -> tuple[float, float]:
    """False and missed responses, mean numbers in an unambiguous pattern."""
    x, left, right = unambiguous(data)
    with torch.no_grad():
        on = machine[1].mean_field({"x": x.double()})[0].mean.reshape(len(x), -1) > 0.5
    is_there = (x[:, None] >= shifted_pairs().to(x)).all(-1)  # both halves of the pair, in either direction
    half = is_there.shape[-1] // 2
    of_direction = torch.cat([(left > 0)[:, None].expand(-1, half), (right > 0)[:, None].expand(-1, half)], -1)
    cause = (is_there & of_direction).double() @ of_pair.double().mT > 0
    tuned = of_pair.any(-1)
    p = (left + right) / (left + right).sum()
    false, missed = ((each & tuned).double().sum(-1) for each in (on & ~cause, ~on & cause))
    return float(p @ false), float(p @ missed)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    machine: Annotated[Path, typer.Option(help="Machine of one restart.")] = MACHINE,
    quick: Annotated[bool, typer.Option("--quick", help="The same; nothing is trained.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Cut, measure, write and print."""
    torch.set_num_threads(threads)
    data = helm.load_data("shifter")
    whole: Machine = helm.load(machine)
    rows = []
    for which in ("none", "rivals", "all"):
        cut = without(whole, which)
        false, missed = responses(cut, units_of_pairs(whole[0])[0], data)
        rows.append(
            {
                "without_negative_weights_of": which,
                "f": float(free_energies(helm.MeanField(), cut, data.distribution)),
                "false_responses": false,
                "missed_responses": missed,
                "told_by_means": read_off_means(cut[1], data)["told_by_means"][0],
            }
        )
    table = pd.DataFrame(rows)
    with atomic_path(out / "side_lobes.csv") as path:
        table.to_csv(path, index=False, float_format="%.5g")
    typer.echo(table.to_string(index=False, float_format="{:.4f}".format))


if __name__ == "__main__":
    typer.run(main)
