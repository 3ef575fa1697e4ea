"""Copying the rows makes the search for the right model easier (Dayan, Hinton, Neal & Zemel 1995, Fig. 1).

    python -m analysis.paper.copied_rows --out results/paper

The shifter with each row twice, as in the paper, and with each row once, 16 pixels: the machine and the call are those
of ``solve_shifter.py`` but for the number of pixels. The entropy of the patterns is the same. Writes
``OUT/copied_rows.csv``, a row for each number of copies: how many machines have a unit for each pair of a pixel and its
shifted copy, how many tell 99 % of the directions, and the median and the best log-likelihood (nats per pattern, 500
samples, exact distribution, stochastic rule).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

import pyro_helm as helm
from analysis.paper.shifter_training import SOLVED_ACCURACY, judge
from analysis.paper.solve_shifter import AGAIN, PAIRS, WHOLE, has_all_pairs, solve
from analysis.paper.weights import shifted_pairs
from pyro_helm.runtime.atomic_files import atomic_path


def rows_once(data: helm.Data) -> tuple[helm.Data, list[int]]:
    """The shifter without the copies of its rows, and the pixels that are left."""
    assert data.distribution is not None
    assert data.image_shape is not None
    rows, columns = data.image_shape
    kept = [*range(columns), *range((rows - 1) * columns, rows * columns)]
    patterns = replace(data.distribution, patterns=data.distribution.patterns[:, kept])
    splits = {name: getattr(data, name)[:, kept] for name in ("train", "valid", "test")}
    return replace(data, **splits, distribution=patterns, image_shape=(2, columns)), kept


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    restarts: Annotated[int, typer.Option(help="Machines of each.")] = 16,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each stage.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, judge, write and print."""
    torch.set_num_threads(threads)
    twice = helm.load_data("shifter")
    once, kept = rows_once(twice)
    stages = [replace(each, num_epochs=1) for each in (PAIRS, AGAIN, WHOLE)] if quick else (PAIRS, AGAIN, WHOLE)
    found = []
    for copies, data, pairs in ((2, twice, shifted_pairs()), (1, once, shifted_pairs()[:, kept])):
        machine = solve(restarts=restarts, stages=stages, data=data, rows=200 if quick else None)
        table = judge(machine, data, num_samples=10 if quick else 500)
        found.append(
            {
                "copies_of_a_row": copies,
                "restarts": restarts,
                "with_all_pairs": int(has_all_pairs(machine[0], pairs).sum()),
                "direction_told": int((table.accuracy >= SOLVED_ACCURACY).sum()),
                "accuracy_median": table.accuracy.median(),
                "log_likelihood_median": table.log_likelihood.median(),
                "log_likelihood_best": table.log_likelihood.max(),
            }
        )
    with atomic_path(out / "copied_rows.csv") as path:
        pd.DataFrame(found).to_csv(path, index=False, float_format="%.4f")
    typer.echo(pd.DataFrame(found).to_string(index=False, float_format="{:.4f}".format))


if __name__ == "__main__":
    typer.run(main)
