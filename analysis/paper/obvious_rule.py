"""What goes wrong with the rule that Dayan, Hinton, Neal & Zemel 1995 say does not work (appendix A, before A.3).

    python -m analysis.paper.obvious_rule --out results/paper

A.2 of means, ``1 - 1/(1 + sum_k q_k theta_k)``, takes a cause that is on now and then for one that is always on and
weak. The shifter machine is trained with it by the recipe of ``solutions.py`` for the deterministic loss (Adam, layer
by layer), and with A.3 beside it. Writes ``OUT/obvious_rule.csv``, a row per machine: F of its rule, log p under the
stochastic rule A.2 (importance sampling), the direction read off the top layer, the share of layer 2 that recognition
leaves in doubt (0.05 < q < 0.95, weighted by activity), the largest odds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor
from torch.nn.functional import logsigmoid

import pyro_helm as helm
from analysis.paper.shifter_training import Machine, free_energies, judge, new_machine, train_by_recipe
from pyro_helm.layers import Imaging, LogProbs
from pyro_helm.runtime.atomic_files import atomic_path

RECIPE: dict[str, Any] = {"layerwise": True, "recognition_bias": -3.0, "learning_rate": 0.01}


class ObviousMeanField(helm.MeanField):
    """The deterministic loss with A.2 of the causes' means in the place of A.3."""

    def _log_probs(self, layer: Imaging, q: Tensor) -> LogProbs:
        log_odds = torch.log(layer.drive(q))
        return LogProbs(logsigmoid(log_odds), logsigmoid(-log_odds))


SCHEMES = {"A.3": helm.MeanField(), "obvious": ObviousMeanField()}


def measure(scheme: helm.Scheme, machine: Machine, data: helm.Data, num_samples: int) -> pd.DataFrame:
    """What the loss says of every restart, and what is so."""
    assert data.distribution is not None
    model, guide = machine
    x, p = data.distribution.patterns, data.distribution.probabilities
    f = free_energies(scheme, machine, data.distribution)
    with torch.no_grad():
        q = guide.mean_field({"x": x})[0].mean.double()
        in_doubt = q * ((q > 0.05) & (q < 0.95))
        doubt = (p @ in_doubt.sum(-1).mT) / (p @ q.sum(-1).mT)
        odds = model.generative[0].weight.amax((-2, -1))
    columns = {"f": f, "doubt": doubt, "largest_odds": odds}
    judged = judge(machine, data, num_samples=num_samples)
    return judged.assign(**{name: values.tolist() for name, values in columns.items()})


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines per rule.")] = 8,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, measure, write, and print the medians."""
    torch.set_num_threads(threads)
    data = helm.load_data("shifter")
    parts = []
    for rule, scheme in SCHEMES.items():
        epochs = 1 if quick else 3
        machine = new_machine(2 if quick else restarts, seed=0)
        train_by_recipe(*machine, data.train, scheme=scheme, lower_epochs=epochs, num_epochs=epochs, **RECIPE)
        parts.append(measure(scheme, machine, data, 20 if quick else 500).assign(rule=rule))
    table = pd.concat(parts, ignore_index=True)
    with atomic_path(out / "obvious_rule.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    typer.echo(table.drop(columns="restart").groupby("rule").median().to_string(float_format="{:.3f}".format))
    assert data.distribution is not None
    typer.echo(f"entropy of the data {data.distribution.entropy:.3f} nats")


if __name__ == "__main__":
    typer.run(main)
