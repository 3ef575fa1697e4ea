"""What the text says of a machine that solves the shifter (Dayan, Hinton, Neal & Zemel 1995, Fig. 4 and section 4).

    python -m analysis.paper.solved_machines --out results/paper

Machines are set to the intended solution by hand and trained on by reweighted wake-sleep (10 particles), with other
layers on top: *two odds units*, those of Fig. 4; *one odds unit*, which turns on the units of one direction and leaves
those of the other to their leaks, for under A.2 it can't turn a unit off; and *one sigmoid unit* (3.3 between layers 3
and 2, which has learned biases), which can. Writes ``OUT/solved_machines.csv``, a row per machine: log p (nats per
pattern, exact distribution), the KL divergence of recognition from the posterior, and how probable each top unit is
by its learned bias.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.best_known import by_hand
from analysis.paper.shifter_training import LEAK, Machine, polish
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.atomic_files import atomic_path

SELDOM, NEVER = -1.386, -7.0
"""Logits of a unit of layer 2 where its direction is, probability 0.2, and where it is not."""


def one_top_unit(imaging: str, restarts: int) -> Machine:
    """The machine set by hand with its first top unit alone, which is on for the left shift."""
    two, two_guide = by_hand(restarts)
    sizes = (*two.sizes[:2], 1)
    is_sigmoid = imaging == "sigmoid"
    leaks: dict[str, Any] = {"fixed_leak": (None, None if is_sigmoid else LEAK, LEAK)}
    leaks["learned_leak"] = (True, is_sigmoid, True)
    model = BeliefNetwork(sizes, ("odds", imaging, "odds"), restarts=restarts, seed=0, **leaks)
    guide = FactorialRecognition(sizes, restarts=restarts, seed=0)
    with torch.no_grad():
        _copy_first(two.generative[0], model.generative[0])
        _copy_first(two.generative[2], model.generative[2])
        for theirs, ours in zip(two_guide.recognition, guide.recognition, strict=True):
            _copy_first(theirs, ours)
        if is_sigmoid:
            model.generative[1].learned_leak[..., :8] = NEVER
            model.generative[1].learned_leak[..., 8:16] = SELDOM
            model.generative[1].learned_leak[..., 16:] = NEVER
            model.generative[1].weight.zero_()
            model.generative[1].weight[..., :8] = SELDOM - NEVER
            model.generative[1].weight[..., 8:16] = NEVER - SELDOM
        else:
            weight = two.generative[1].weight_unconstrained[:, :1]
            model.generative[1].weight_unconstrained.copy_(weight)
    return model, guide


def _copy_first(theirs: torch.nn.Module, ours: torch.nn.Module) -> None:
    """Copy the parameters of a layer, of its first unit if it has two."""
    for (_, source), (_, target) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        target.copy_(source[..., : target.shape[-1]])


TOPS: dict[str, Callable[[int], Machine]] = {
    "two odds units": by_hand,
    "one odds unit": lambda restarts: one_top_unit("odds", restarts),
    "one sigmoid unit": lambda restarts: one_top_unit("sigmoid", restarts),
}


def measured(machine: Machine, data: helm.Data, num_samples: int) -> pd.DataFrame:
    """A row per restart."""
    assert data.distribution is not None
    x, p = data.distribution.patterns, data.distribution.probabilities
    scores = helm.log_likelihood(*machine, x, weights=p, num_samples=num_samples, seed=0).summary
    table = scores[["restart", "log_likelihood", "stderr", "elbo"]].copy()
    table["kl"] = table.log_likelihood - table.elbo
    top = machine[0].generative[-1]
    on = top.distribution(top.leak.detach()).probs[:, 0]
    table["left_on"] = on[:, 0].tolist()
    table["right_on"] = on[:, 1].tolist() if on.shape[1] == 2 else float("nan")
    return table


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines per top layer.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Set, train, measure, write and print the medians."""
    torch.set_num_threads(threads)
    data = helm.load_data("shifter")
    parts = []
    for top, set_up in TOPS.items():
        machine = set_up(restarts)
        for epochs, rate in [(1, 0.01)] if quick else [(5, 0.01), (3, 0.001)]:
            polish(machine, helm.ReweightedWakeSleep(10), data, epochs=epochs, learning_rate=rate)
        parts.append(measured(machine, data, 20 if quick else 1000).assign(top=top))
    table = pd.concat(parts, ignore_index=True)
    with atomic_path(out / "solved_machines.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    medians = table.drop(columns="restart").groupby("top", sort=False).median()
    typer.echo(medians.to_string(float_format="{:.3f}".format))
    assert data.distribution is not None
    typer.echo(f"minus the entropy of the data {-data.distribution.entropy:.3f} nats")


if __name__ == "__main__":
    typer.run(main)
