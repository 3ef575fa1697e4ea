"""How near wake-sleep's step is to the gradient of F (Dayan, Hinton, Neal & Zemel 1995, section 4).

    python -m analysis.paper.wake_sleep_gradient --out results/paper

On the machines of 3-2-2 sigmoid units of ``wake_sleep_cost.py``, every state summed. The wake phase follows the
gradient of F by theta; the sleep phase is compared with that by phi, as the cosine between the two, and so are both
phases with all of the gradient. At random values, and after so many rounds of wake-sleep. Writes
``OUT/wake_sleep_gradient.csv``, a row per machine and round.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor

from analysis.paper.wake_sleep_cost import Weights, descend, free_energy, initial, sleep_cost
from pyro_helm.runtime.atomic_files import atomic_path

ROUNDS = (0, 10, 30, 100, 300)


def flat(cost: Tensor, weights: Weights) -> Tensor:
    """The gradient of a cost of every machine, ``[machines, weights]``."""
    return torch.cat([g.flatten(1) for g in torch.autograd.grad(cost.sum(), weights)], -1)


def cosines(theta: Weights, phi: Weights) -> dict[str, Tensor]:
    """Of wake-sleep's step and the gradient of F: by phi, and by theta and phi together, ``[machines]``."""
    wake, of_f = flat(free_energy(theta, phi), theta), flat(free_energy(theta, phi), phi)
    sleep = flat(sleep_cost(theta, phi), phi)
    both, true = torch.cat([wake, sleep], -1), torch.cat([wake, of_f], -1)
    return {"phi": torch.cosine_similarity(sleep, of_f), "all": torch.cosine_similarity(both, true)}


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    machines: Annotated[int, typer.Option(help="Initial values to begin from.")] = 64,
    quick: Annotated[bool, typer.Option("--quick", help="A few rounds.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Go on by wake-sleep, compare, write and print."""
    torch.set_num_threads(threads)
    theta, phi = initial(4 if quick else machines, seed=0)
    parts = []
    wanted = (0, 2) if quick else ROUNDS
    for done in range(wanted[-1] + 1):
        if done in wanted:
            found = {name: values.tolist() for name, values in cosines(theta, phi).items()}
            parts.append(pd.DataFrame(found).rename_axis("machine").reset_index().assign(rounds=done))
        descend(free_energy(theta, phi), theta)
        descend(sleep_cost(theta, phi), phi)
    table = pd.concat(parts, ignore_index=True)
    with atomic_path(out / "wake_sleep_gradient.csv") as path:
        table.to_csv(path, index=False, float_format="%.4g")
    by_round = table.groupby("rounds")
    shown = by_round[["phi", "all"]].median().join(by_round[["phi", "all"]].min().add_suffix("_least"))
    shown["phi_uphill"] = by_round.phi.apply(lambda cosine: (cosine < 0).sum())
    typer.echo(shown.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    typer.run(main)
