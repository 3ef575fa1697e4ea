"""``pyro-helm draw``: pictures of a trained machine."""

from __future__ import annotations

from typing import Annotated

import typer

import pyro_helm as helm
from pyro_helm.cli.completion import data_names
from pyro_helm.cli.errors import one_sentence_errors
from pyro_helm.cli.options import DATA_HELP, Run, Seed
from pyro_helm.cli.values import output_folder


def draw(
    run: Run,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for weights.png and dreams.png.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Data to show beside the dreams. " + DATA_HELP, autocompletion=data_names),
    ] = None,
    restart: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Which restart to draw.")] = 0,
    seed: Seed = 0,
) -> None:
    """Draw a trained machine: its weights and its dreams.

    For example:

    \b
    pyro-helm draw runs/odds --data shifter --out figures
    """
    from pyro_helm.experiments.recipes import load_machine
    from pyro_helm.experiments.report import draw_machine

    with one_sentence_errors():
        folder = output_folder(out)
        model, guide = load_machine(run)
        loaded = None if data is None else helm.load_data(data)
        if guide is None:
            typer.echo("the machine has no guide, so its weights are not drawn, only its dreams", err=True)
        for path in draw_machine(model, guide, folder, data=loaded, restart=restart, seed=seed):
            typer.echo(path)
