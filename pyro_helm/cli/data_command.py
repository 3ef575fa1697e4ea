"""``pyro-helm data``: data sets by name, one of them, and what a file was read as."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import pyro_helm as helm
from pyro_helm.cli.errors import one_sentence_errors


def list_data(
    file: Annotated[str | None, typer.Argument(metavar="DATA", help="A name, or a .csv file to describe.")] = None,
    index: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column that names the rows.")] = None,
    missing: Annotated[
        str, typer.Option(metavar="MARKERS", help="More markers of missing values, separated by commas.")
    ] = "",
    header: Annotated[bool | None, typer.Option("--header/--no-header", help="Whether line 1 has the names.")] = None,
) -> None:
    """List the data sets, or describe one of them or a .csv file.

    Each file NAME.npz in the folder PYRO_HELM_DATA is a data set, NAME. Published sets are downloaded when first
    loaded, into PYRO_HELM_CACHE or the system's cache folder. Those marked "by hand" you put into PYRO_HELM_DATA
    yourself.

    For example:

    \b
    pyro-helm data
    pyro-helm data digits
    pyro-helm data survey.csv --index person --missing "?,-9"
    """
    from pyro_helm.experiments.console import print_table

    with one_sentence_errors():
        if file is None:
            found = helm.available_data().rename(columns={"megabytes": "MB"})
            narrow = ["name", "units", "train", "valid", "test", "what", "source", "MB"]
            print_table(found[[*narrow, *found.columns.difference(narrow, sort=False)]], "data sets", apart="licence")
            return
        if Path(file).suffix.lower() != ".csv":
            if index or missing or header is not None:
                raise ValueError(f"--index, --missing and --header are for a .csv file, got {file}")
            typer.echo(str(helm.load_data(file)))
            return
        markers = [marker for marker in missing.split(",") if marker]
        table = helm.read_table(file, index=index, missing=markers, header=header)
        first = "names" if table.has_names else "data"
        separator = {",": "comma", ";": "semicolon", "\t": "tab"}.get(table.separator, repr(table.separator))
        print_table(
            table.described(),
            f"{file}: {len(table.frame)} rows of {table.frame.shape[1]} units, "
            f"line 1 read as {first}, separated by {separator}",
        )
