"""Everything of the reproduction: Figs. 1 to 4 of Dayan, Hinton, Neal & Zemel 1995, and the table of solutions.

python -m analysis.paper.reproduce --out results/paper
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from analysis.paper import architecture, free_energy_surface, shifter_patterns, solutions, weights


def main(
    out: Annotated[Path, typer.Option(help="Folder for figures, tables and machines.")] = Path("results/paper"),
    quick: Annotated[bool, typer.Option("--quick", help="A few steps of each, to see that all works.")] = False,
    threads: Annotated[int, typer.Option(help="Processes that train at a time, one thread each.")] = 2,
) -> None:
    """Draw, train, draw."""
    torch.set_num_threads(1)  # a second would wait for the first, the tensors being small
    for script in (shifter_patterns, free_energy_surface, architecture):
        typer.echo(script.draw(out, quick=quick))
    restarts = 2 if quick else 64
    typer.echo(solutions.solve(out, [*solutions.ROWS, solutions.BY_HAND], restarts, quick=quick, processes=threads))
    typer.echo(weights.draw(out, quick=quick))


if __name__ == "__main__":
    typer.run(main)
