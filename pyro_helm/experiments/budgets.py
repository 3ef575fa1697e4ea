"""How long a run trains: in steps, epochs, or seconds of training steps."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyro_helm.runtime.arguments import at_least_one, positive

NO_END = 1_000_000
"""Epochs of a training that seconds alone shall end."""

_UNITS = {"step": "num_steps", "epoch": "num_epochs", "s": "max_seconds", "second": "max_seconds"}
_EXPECTED = "expected for example '500 steps', '20 epochs' or '60 seconds'"


@dataclass(frozen=True)
class Budget:
    """An amount of training; what ends first ends it.

    Attributes:
        num_steps: training steps, rounded up to whole epochs.
        num_epochs: passes over the data.
        max_seconds: of training steps, after which the epoch is the last.

    """

    num_steps: int | None = None
    num_epochs: int | None = None
    max_seconds: float | None = None

    def __str__(self) -> str:
        parts = [
            f"{amount:g} {unit}"
            for amount, unit in ((self.num_steps, "steps"), (self.num_epochs, "epochs"), (self.max_seconds, "s"))
            if amount is not None
        ]
        return ", ".join(parts)

    def epochs(self, rows: int, batch_size: int | None) -> int:
        """Passes over so many rows."""
        if self.num_steps is not None:
            return math.ceil(self.num_steps / steps_per_epoch(rows, batch_size))
        return self.num_epochs or NO_END


def budget_of(given: Any) -> Budget:
    """The budget that a line of text or a table says.

    Raises:
        ValueError: for one that is none.

    >>> budget_of("500 steps"), str(budget_of({"num_epochs": 20, "max_seconds": 60}))
    (Budget(num_steps=500, num_epochs=None, max_seconds=None), '20 epochs, 60 s')
    """
    if isinstance(given, Budget):
        return given
    if isinstance(given, str):
        amounts = [_amount(part.strip(), given) for part in given.split(",")]
    elif isinstance(given, Mapping) and given and given.keys() <= set(_UNITS.values()):
        amounts = [(name, value) for name, value in given.items() if value is not None]
    else:
        raise ValueError(f"budget is {given!r:.60}, {_EXPECTED}")
    checked = {name: positive(name, n) if name == "max_seconds" else at_least_one(name, n) for name, n in amounts}
    if {"num_steps", "num_epochs"} <= checked.keys():
        raise ValueError(f"budget is {given!r:.60}, expected steps or epochs, not both")
    return Budget(**checked)  # type: ignore[arg-type]


def _amount(text: str, whole: str) -> tuple[str, Any]:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(steps?|epochs?|s|seconds?)", text)
    if found is None:
        raise ValueError(f"budget is {whole!r:.60}, {_EXPECTED}")
    number = float(found[1])
    return _UNITS[found[2].rstrip("s") or "s"], int(number) if number.is_integer() else number


def steps_per_epoch(rows: int, batch_size: int | None) -> int:
    """Training steps of a pass over so many rows.

    >>> steps_per_epoch(250, 100), steps_per_epoch(250, None)
    (3, 1)
    """
    return math.ceil(rows / (batch_size or rows))
