"""Inference schemes of a study, by name with settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pyro_helm.experiments.digests import named
from pyro_helm.runtime.suggestions import unknown
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
    if ":" not in text:
        if text not in SCHEMES:
            raise ValueError(unknown("scheme", text, SCHEMES))
        return SCHEMES[text]
    found = named(text, "scheme")
    if not (inspect.isclass(found) and issubclass(found, Scheme)):
        raise ValueError(f"scheme {text!r} is no class of schemes")
    return found


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
