"""How a command ends that can't do what it was asked, or is ended: a sentence on standard error, and an exit status.

0: it is finished. 1: it came to nothing, or could not be saved. 2: it was asked for what can't be. 3: some restarts
failed. 130, 143, 129: it was ended by Ctrl-C, SIGTERM or SIGHUP, 128 and the number of the signal, as shells have it.
"""

from __future__ import annotations

import codecs
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import typer

import pyro_helm as helm
from pyro_helm.runtime.signals import FROM_OUTSIDE, taken

NOTHING_LEARNED, WRONG, SOME_FAILED, INTERRUPTED = 1, 2, 3, 130

_SPELLED = {"±": "+/-"}


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Say what was wrong with the input in one sentence, without a traceback; warnings and signals likewise.

    Models, guides and schemes may stand in files of the current folder.
    """
    from pyro_helm.experiments.own_names import make_importable  # late: --help would wait for torch

    make_importable(Path.cwd())
    _spell_out_what_streams_lack()
    with warnings.catch_warnings(), _ended_by_signals():
        warnings.showwarning = lambda message, *_, **__: typer.echo(f"pyro-helm: warning: {message}", err=True)
        try:
            yield
        except MemoryError as error:
            fail(f"there is not enough memory: {error}")
        except (ValueError, TypeError, OSError) as error:
            sentence = str(error).partition("\nTrace Shapes:")[0]  # which Pyro adds to the errors of programs
            if isinstance(error, FileNotFoundError) and error.filename:
                sentence = f"{error.filename} does not exist"
            typer.echo(f"pyro-helm: {as_options(sentence)}", err=True)
            raise typer.Exit(WRONG) from error


def as_options(sentence: str) -> str:
    r"""The sentence with arguments of Python's as one writes them on the command line.

    >>> as_options("out='runs/a' holds a run already; go on with it by resume=True, or take method=\"ais\"")
    '--out runs/a holds a run already; go on with it by --resume, or take --method ais'
    """
    sentence = re.sub(r"\b(resume|overwrite)=True\b", r"--\1", sentence)
    sentence = re.sub(r"\bchoose another out\b", "choose another --out", sentence)
    return re.sub(r"""\b(out|method|step|start)=(['"])(.*?)\2""", r"--\1 \3", sentence)


def fail(sentence: str, status: int = NOTHING_LEARNED) -> NoReturn:
    """End a command whose input was right, but which came to nothing, or not to all."""
    typer.echo(f"pyro-helm: {sentence}", err=True)
    raise typer.Exit(status)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the command as Ctrl-C does, with a status of their own; a training is saved first."""
    _ = helm.fit  # the imports that take long, which Ctrl-C ends at once
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with taken(_end, FROM_OUTSIDE, lambda _, before: before is signal.SIG_DFL):
        yield


def _end(number: int, frame: FrameType | None) -> NoReturn:
    typer.echo(f"pyro-helm: ended by {signal.Signals(number).name}", err=True)
    raise SystemExit(128 + number)


def _spell_out_what_streams_lack() -> None:
    """On a terminal that knows ASCII alone, a sign is spelled and not an error."""
    codecs.register_error("spelled", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="spelled")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_SPELLED.get(sign, "?") for sign in signs), error.end
