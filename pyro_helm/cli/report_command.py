"""``pyro-helm report``: one page of HTML about a study."""

from __future__ import annotations

from typing import Annotated

import typer

import pyro_helm as helm
from pyro_helm.cli.errors import one_sentence_errors


def report(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder of a study, or of several copied together.")],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="File to write.", show_default="report.html in the folder")
    ] = None,
) -> None:
    """Write one page of HTML about a study.

    The page has the answer, sortable tables, curves, machines and warnings. It is a single file, so you can send it.

    For example:

    \b
    pyro-helm report results/schemes
    """
    with one_sentence_errors():
        typer.echo(f"report: {helm.report(folder, out)}")
