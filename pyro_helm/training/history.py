"""What a training's table says of its machine."""

from __future__ import annotations

from typing import Any


def describe_machine(model: Any) -> dict[str, str]:
    """What the columns ``model, imaging, sizes`` say of a model; empty where it has no such thing.

    >>> describe_machine(BeliefNetwork((6, 4), imaging="odds"))
    {'model': 'BeliefNetwork', 'imaging': 'odds', 'sizes': '6-4'}
    """
    imaging = dict.fromkeys(getattr(model, "imaging", ()))
    layers = list(imaging) if len(imaging) < 2 else getattr(model, "imaging", ())
    return {
        "model": type(model).__name__,
        "imaging": "/".join(layers),
        "sizes": "-".join(str(size) for size in getattr(model, "sizes", ())),
    }
