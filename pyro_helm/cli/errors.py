"""How a command ends that can't do what it was asked: a sentence on standard error, and an exit status."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Say what was wrong with the input in one sentence, without a traceback; warnings likewise."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: typer.echo(f"pyro-helm: warning: {message}", err=True)
        try:
            yield
        except MemoryError as error:
            fail(f"there is not enough memory: {error}")
        except (ValueError, TypeError, OSError) as error:
            typer.echo(f"pyro-helm: {error}", err=True)
            raise typer.Exit(2) from error


def fail(sentence: str) -> NoReturn:
    """End a command whose input was right, but which came to nothing."""
    typer.echo(f"pyro-helm: {sentence}", err=True)
    raise typer.Exit(1)
