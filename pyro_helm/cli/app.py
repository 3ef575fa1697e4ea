"""The command line ``pyro-helm``: it parses, calls the library, prints and draws.

One file a command. Commands import what they run, so that help does not wait for torch.
"""

from __future__ import annotations

import typer

from pyro_helm.cli.compare_command import compare
from pyro_helm.cli.data_command import list_data
from pyro_helm.cli.draw_command import draw
from pyro_helm.cli.fit_command import fit
from pyro_helm.cli.loglik_command import loglik
from pyro_helm.cli.plain_help import PlainHelp
from pyro_helm.cli.report_command import report
from pyro_helm.cli.study_command import study

app = typer.Typer(
    name="pyro-helm",
    help="Train and compare Helmholtz machines, and estimate their log-likelihoods, in nats per datum (higher is "
    "better). 'pyro-helm COMMAND --help' shows the options and examples of a command.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (fit, compare, loglik, draw, study, report):
    app.command(cls=PlainHelp)(command)
app.command("data", cls=PlainHelp)(list_data)
