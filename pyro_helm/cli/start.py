"""How the program ``pyro-helm`` starts: Ctrl-C ends it quietly, from the first moment on."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line. Ctrl-C ends the imports at once, as it ends a program that handles no signals."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pyro_helm.cli.app import app  # late: it takes its time

    app()
