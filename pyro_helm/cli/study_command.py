"""``pyro-helm study``: carry out a study file."""

from __future__ import annotations

from typing import Annotated

import typer

from pyro_helm.cli.errors import one_sentence_errors
from pyro_helm.cli.options import Workers
from pyro_helm.cli.values import output_folder


def study(
    file: Annotated[str, typer.Argument(metavar="STUDY.toml", help="Study file: what to train. See docs/studies.md.")],
    out: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Folder for runs and tables.", show_default="STUDY, beside the file"),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Carry out only runs of this dataset, machine, scheme, budget, seed or setting. Several values have "
            "commas between them; the option may stand several times.",
            show_default="all runs",
        ),
    ] = None,
    workers: Workers = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786. Its workers see the folder."),
    ] = None,
) -> None:
    """Carry out a study file.

    Finished runs are not trained again. Prints the best setting of each scheme, and how far the schemes are apart. The
    same command resumes an interrupted study. Exit status: 0 finished; 1 every run failed; 3 some runs failed; 130
    ended by Ctrl-C, 143 by SIGTERM.

    For example:

    \b
    pyro-helm study schemes.toml --out results/schemes --workers 2
    pyro-helm study schemes.toml --only dataset=digits --only scheme=vimco
    """
    from pyro_helm.cli.studies import end_of_study, print_rest, print_study, run_study
    from pyro_helm.experiments.study_files import study_from_file

    with one_sentence_errors():
        whole = study_from_file(file, None if out is None else output_folder(out))
        asked = whole.only(**_asked(only or []))
        run_study(asked, workers, scheduler)
        print_study(asked)
        print_rest(whole)
        end_of_study(asked)


def _asked(only: list[str]) -> dict[str, list[str]]:
    """Values by name, of options ``NAME=VALUE,VALUE``."""
    found: dict[str, list[str]] = {}
    for text in only:
        name, equals, values = text.partition("=")
        if not (name and equals and values):
            raise ValueError(f"--only {text!r} has no value; expected name=value, such as dataset=digits")
        if name in found:
            raise ValueError(f"--only {name} is given twice; write several values with commas between them")
        found[name] = values.split(",")
    return found
