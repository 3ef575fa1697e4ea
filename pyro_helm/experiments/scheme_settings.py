"""Inference schemes of a study, by name with settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pyro_helm.experiments.named_parts import made, maker_of, read_line
from pyro_helm.schemes import SCHEMES, Reinforce, Scheme
from pyro_helm.training.manifest import described

_OF_EVERY_SCHEME = vars(Reinforce()).keys() - {"num_particles"}


def scheme_class(text: str) -> type[Scheme]:
    """The class of a scheme's name, or of ``module:name``.

    Raises:
        ValueError: for one that is no scheme.

    >>> scheme_class("vimco").__name__
    'VIMCO'
    """
    found: Any = maker_of(text, SCHEMES, "scheme")
    if not (inspect.isclass(found) and issubclass(found, Scheme)):
        raise ValueError(f"scheme {text!r} is no class of schemes; expected a subclass of pyro_helm.Scheme")
    if not isinstance(getattr(found, "name", None), str):
        raise ValueError(f"scheme {text!r} has no name for tables; give the class one, such as name = 'mine'")
    return found


def scheme_of(line: str, num_particles: int | None = None) -> Scheme:
    """The scheme of a line of text, a name and settings.

    Args:
        line: a name in :data:`pyro_helm.SCHEMES`, or ``module:name`` of a class, and settings.
        num_particles: where the line says nothing of them, and the scheme draws any; None for its own number.

    Raises:
        ValueError: for an unknown scheme or setting, or one that can't be made.

    >>> scheme_of("tvo num_intervals=7", num_particles=10)
    TVO(num_particles=10, num_intervals=7)
    """
    name, settings = read_line(line, "scheme")
    if num_particles is not None and takes(scheme_class(name), "num_particles"):
        settings = {"num_particles": num_particles, **settings}
    scheme: Scheme = made(name, settings, {name: scheme_class(name)}, "scheme", given={}, kind=Scheme)
    return scheme


def takes(kind: type[Scheme], setting: str) -> bool:
    """Whether a scheme's constructor takes a setting; particles only if it draws any."""
    return setting in inspect.signature(kind).parameters and (kind.samples or setting != "num_particles")


def settings_of_scheme(scheme: Scheme) -> dict[str, Any]:
    """What decides a scheme's numbers: its attributes, but for what it remembers of machines."""
    return {
        name: described(value)
        for name, value in vars(scheme).items()
        if name not in _OF_EVERY_SCHEME and not name.startswith("_") and (scheme.samples or name != "num_particles")
    }


def described_scheme(scheme: Scheme) -> Mapping[str, Any]:
    """What ``run.json`` says of a scheme."""
    is_own = SCHEMES.get(scheme.name) is type(scheme)
    return {"name": scheme.name, **({} if is_own else {"class": described(type(scheme))}), **settings_of_scheme(scheme)}
