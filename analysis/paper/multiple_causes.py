"""The relatives of one hidden layer that Dayan, Hinton, Neal & Zemel 1995 name, on bars and on half of the shifter.

    python -m analysis.paper.multiple_causes --out results/paper

*Multiple causes* (appendix A: Saund 1995 with noisy-or, Dayan & Zemel 1995 with odds) have no recognition model: the
mean of each cause is iterated for every pattern (``VariationalEM(exact=False)``). The *autoencoder* (section 5: Hinton
& Zemel 1994) has one, and a fixed prior of its hidden units; its free energy is a description length, what code and
reconstruction cost less the bits back. Machines of 16-8 units learn bars of 4 x 4 pixels, and the two lower rows of the
shifter, a random row and its copy; the prior is fixed to that of the causes. Writes ``OUT/multiple_causes.csv``, a row
per machine: how many of the 8 true causes have a unit of their own, -log p(x) by enumeration, and F of the factorial
recognition, a bound, both in bits per pattern on the exact distribution.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor

import pyro_helm as helm
from analysis.paper.shifter_training import free_energies
from pyro_helm.data.shifter import SHIFTER_SHAPE
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.atomic_files import atomic_path

SIZES = (16, 8)
STEPS, BATCH = 300, 50
METHODS = {
    "multiple causes": helm.VariationalEM(exact=False, num_iterations=10),
    "autoencoder": helm.ExactMeanField(tolerance=1e-4),
}


def bars() -> tuple[Tensor, helm.PatternDistribution, Tensor, float]:
    """Training data, their distribution, the causes ``[8, 16]``, and the probability of each."""
    data = helm.load_data("bars")
    assert data.distribution is not None
    eye = torch.eye(4, dtype=torch.bool)
    causes = torch.cat([eye.repeat_interleave(4, 1), eye.repeat(1, 4)])
    return data.train, data.distribution, causes, 0.25


def half_of_shifter() -> tuple[Tensor, helm.PatternDistribution, Tensor, float]:
    """Likewise, of the two lower rows."""
    columns = SHIFTER_SHAPE[1]
    rows = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * columns)
    probabilities = (0.2 ** rows.double() * 0.8 ** (1 - rows.double())).prod(-1)
    causes = torch.eye(columns, dtype=torch.bool).repeat(1, 2)
    train = helm.load_data("shifter").train[:, -2 * columns :]
    return train, helm.PatternDistribution(rows.repeat(1, 2), probabilities), causes, 0.2


DATA = {"bars": bars, "half of the shifter": half_of_shifter}


def found(model: BeliefNetwork, causes: Tensor) -> list[int]:
    """How many causes have a unit that turns on just their pixels, with a probability above 1/2, ``[restarts]``."""
    layer = model.generative[0]
    on = layer.distribution(layer.weight.detach()).probs > 0.5
    number: list[int] = (on[:, :, None] == causes).all(-1).any(1).sum(-1).tolist()
    return number


def trained(method: str, imaging: str, data: str, restarts: int, steps: int) -> pd.DataFrame:
    """Train and judge the machines of one row of the table."""
    train, distribution, causes, on = DATA[data]()
    prior = on if imaging == "noisy_or" else on / (1 - on)
    model = BeliefNetwork(
        SIZES, imaging, fixed_leak=(None, prior), learned_leak=(True, False), restarts=restarts, seed=0
    )
    guide = None if method == "multiple causes" else FactorialRecognition(SIZES, restarts=restarts, seed=0)
    settings: dict[str, Any] = {"batch_size": BATCH, "num_epochs": 1, "learning_rate": 0.05, "progress": False}
    helm.fit(model, guide, train[: steps * BATCH], scheme=METHODS[method], seed=0, **settings)
    x, p = distribution.patterns, distribution.probabilities
    exact = helm.log_likelihood(model, None, x, weights=p, method="exact").summary
    rows = pd.DataFrame({"restart": range(restarts), "causes_found": found(model, causes)})
    rows["bits"] = -exact.log_likelihood.to_numpy() / math.log(2)
    if guide is not None:
        lengths = free_energies(METHODS[method], (model, guide), distribution) / math.log(2)
        rows["description_length"] = lengths.tolist()
    return rows.assign(method=method, imaging=imaging, data=data, entropy=distribution.entropy / math.log(2))


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines per row.")] = 4,
    quick: Annotated[bool, typer.Option("--quick", help="Two machines, a few steps.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, judge, write and print the medians."""
    torch.set_num_threads(threads)
    number, steps = (2, 3) if quick else (restarts, STEPS)
    rows = [(method, imaging, data) for data in DATA for imaging in ("noisy_or", "odds") for method in METHODS]
    table = pd.concat([trained(*row, number, steps) for row in rows], ignore_index=True)
    with atomic_path(out / "multiple_causes.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    shown = table.assign(all_found=table.causes_found == SIZES[1]).drop(columns="restart")
    by = ["data", "imaging", "method"]
    medians = shown.groupby(by, sort=False).median().assign(all_found=shown.groupby(by).all_found.mean())
    typer.echo(medians.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    typer.run(main)
