"""Several observations of a datum as one row of numbers, so that what takes rows takes programs of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_helm.programs.observations import as_observed
from pyro_helm.programs.particles import Program
from pyro_helm.programs.rows import made_of


class Rows(NamedTuple):
    """A model, a guide and data ``[data, numbers]`` that they are shown as ``x``.

    Where ``x`` was all there is, they are the caller's own.
    """

    model: Program
    guide: Program | None
    x: Tensor


def as_rows(model: Program, guide: Program | None, observations: Mapping[str, Tensor]) -> Rows:
    """One row of numbers for each datum, and programs that unpack it.

    Args:
        model: Pyro model, of whose device and type the rows are.
        guide: its guide, or None.
        observations: by name, each ``[data, ...]``; the rows are ``[data, numbers]``.

    """
    if set(observations) == {"x"}:
        return Rows(model, guide, as_observed(model, observations["x"]))
    seen = {name: as_observed(model, value, name) for name, value in observations.items()}
    # whole numbers up to 2^53 are exact in double precision
    x = torch.cat([value.double().reshape(len(value), -1) for value in seen.values()], dim=-1)
    layout = {name: (value.shape[1:], value.dtype) for name, value in seen.items()}
    packed, packed_guide = (None if program is None else Packed(program, layout) for program in (model, guide))
    assert packed is not None
    return Rows(made_of(packed, model), None if packed_guide is None else made_of(packed_guide, guide), x)


class Packed:
    """A program of several observations, which is shown them as one row of numbers.

    Args:
        program: that takes the observations by name.
        layout: shape and type of one datum of each, in their order.

    """

    def __init__(self, program: Program, layout: Mapping[str, tuple[torch.Size, torch.dtype]]) -> None:
        self.program, self.layout = program, layout
        self.restarts = getattr(program, "restarts", 1)

    def __call__(self, observations: Mapping[str, Tensor]) -> Any:
        """Run the program on rows ``x``."""
        return self.program(observations=self.unpacked(observations["x"]))

    def unpacked(self, x: Tensor) -> dict[str, Tensor]:
        """The observations of rows ``[..., data, numbers]``, each ``[..., data, *datum]``."""
        parts = x.split([shape.numel() for shape, _ in self.layout.values()], dim=-1)
        return {
            name: part.reshape(*part.shape[:-1], *shape).to(dtype)
            for (name, (shape, dtype)), part in zip(self.layout.items(), parts, strict=True)
        }


def unpacked(program: Program, x: Tensor) -> Mapping[str, Tensor]:
    """The observations that rows are for a program."""
    return program.unpacked(x) if isinstance(program, Packed) else {"x": x}
