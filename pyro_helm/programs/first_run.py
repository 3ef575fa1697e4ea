"""What stops a program in its first run, said in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_OF_SHAPES = ("must match", "same number of dimensions", "cannot be multiplied", "size mismatch")


class _Asked(dict[str, Any]):
    """Observations that remember which one they were asked for in vain."""

    absent: object = None

    def __missing__(self, name: str) -> Any:
        self.absent = name
        raise KeyError(name)


@contextmanager
def explained(observations: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Hand out observations for programs, and say what the contract asks for where these stop.

    Args:
        observations: by name.

    Raises:
        TypeError: for a program that has no argument ``observations``.
        ValueError: for one that reads an observation that there is not, has units that are no event, or does not
            broadcast over particles.

    """
    shown = _Asked(observations)
    try:
        yield shown
    except KeyError as error:
        if shown.absent is None or error.args != (shown.absent,):
            raise
        known, wanted = ", ".join(map(repr, shown)), shown.absent
        raise ValueError(
            f"a program reads observations[{wanted!r}], but was given {known}; pass the data as {{{wanted!r}: rows}}, "
            "or change the name in the program"
        ) from error
    except TypeError as error:
        if "unexpected keyword argument 'observations'" not in str(error):
            raise
        raise TypeError(f"{error}; model and guide are called with observations={{'x': rows}}") from error
    except ValueError as error:
        if not str(error).startswith("Shape mismatch inside plate"):
            raise
        what = str(error).splitlines()[0]
        raise ValueError(f"{what}; write .to_event(1) on a distribution of several units per datum") from error
    except RuntimeError as error:
        if not any(words in str(error) for words in _OF_SHAPES):
            raise
        raise ValueError(
            f"{error}; latent values arrive as [particles, restarts, data, units], so count dimensions from the right "
            "and add values of different shapes rather than concatenate them"
        ) from error
