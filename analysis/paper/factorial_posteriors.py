"""Factorial generative models rarely have factorial posteriors (section 3 of Dayan, Hinton, Neal & Zemel 1995).

    python -m analysis.paper.factorial_posteriors --out results/paper

Machines of 16-8-3 units are trained on bars by reweighted wake-sleep, and their exact posteriors are enumerated. What
the units of a layer know of one another is its multi-information, the sum of their entropies less the entropy of the
layer, 0 if and only if they are independent: of layer 2 given a pattern, and of layer 3 given layer 2, in nats. Writes
``OUT/factorial_posteriors.csv``, a row per imaging model and restart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor
from torch.special import entr

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.atomic_files import atomic_path

SIZES = (16, 8, 3)


def binary_rows(units: int) -> Tensor:
    """Every binary vector, ``[2^units, units]``."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * units)


def multi_information(probabilities: Tensor) -> Tensor:
    """Sum of the units' entropies less that of the layer, nats: ``[..., states]`` to ``[...]``."""
    units = probabilities.shape[-1].bit_length() - 1
    on = probabilities @ binary_rows(units).to(probabilities)
    each: Tensor = entr(on) + entr((1 - on).clamp(min=0))
    whole: Tensor = entr(probabilities).sum(-1)
    return each.sum(-1) - whole


def of_posterior(model: BeliefNetwork, guide: FactorialRecognition, x: Tensor) -> dict[str, Tensor]:
    """Multi-information of layer 2 given x and of layer 3 given layer 2, and the guide's KL, ``[restarts, data]``."""
    _, middle, top = model.sizes
    states = binary_rows(middle + top).to(next(model.parameters()))
    posterior = helm.exact_posterior(model, guide, x)
    joint = posterior.log_prob({"h1": states[:, :middle], "h2": states[:, middle:]}).exp().double()
    joint = joint.movedim(0, -1).unflatten(-1, (2**middle, 2**top))  # [restarts, data, states of h1, states of h2]
    of_middle = joint.sum(-1)
    given = joint / of_middle[..., None].clamp(min=1e-300)
    assert posterior.kl is not None
    return {
        "layer_2": multi_information(of_middle),
        "layer_3": (of_middle * multi_information(given)).sum(-1),
        "kl_of_guide": posterior.kl,
    }


def trained(imaging: str, data: helm.Data, *, restarts: int, epochs: int) -> tuple[BeliefNetwork, FactorialRecognition]:
    """Machines after so many epochs of reweighted wake-sleep, in double precision."""
    model = BeliefNetwork(SIZES, imaging, restarts=restarts, seed=0)
    guide = FactorialRecognition(SIZES, restarts=restarts, seed=0)
    helm.fit(
        model, guide, data.train, scheme=helm.ReweightedWakeSleep(10), num_epochs=epochs,
        learning_rate=0.02, seed=0, dataset=data.name, progress=False,
    )  # fmt: skip
    return model.double(), guide.double()


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines per imaging model.")] = 4,
    epochs: Annotated[int, typer.Option(help="Epochs of training.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, enumerate, write and print the medians."""
    torch.set_num_threads(threads)
    data = helm.load_data("bars")
    x = data.test[: 20 if quick else 100]
    rows = []
    for imaging in ("sigmoid", "noisy_or", "odds"):
        model, guide = trained(imaging, data, restarts=restarts, epochs=1 if quick else epochs)
        found = of_posterior(model, guide, x.double())
        for restart in range(restarts):
            here = {name: float(values[restart].mean()) for name, values in found.items()}
            dependent = float((found["layer_2"][restart] > 0.01).double().mean())
            rows.append({"imaging": imaging, "restart": restart, **here, "patterns_above_0.01": dependent})
    table = pd.DataFrame(rows)
    with atomic_path(out / "factorial_posteriors.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g")
    typer.echo(table.drop(columns="restart").groupby("imaging").median().to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    typer.run(main)
