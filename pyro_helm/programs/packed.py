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
    return Rows(_unpacking(model, layout), None if guide is None else _unpacking(guide, layout), x)


def _unpacking(program: Program, layout: Mapping[str, tuple[torch.Size, torch.dtype]]) -> Program:
    sizes = [shape.numel() for shape, _ in layout.values()]

    def unpacked(observations: Mapping[str, Tensor]) -> Any:
        parts = observations["x"].split(sizes, dim=-1)
        return program(
            observations={
                name: part.reshape(*part.shape[:-1], *shape).to(dtype)
                for (name, (shape, dtype)), part in zip(layout.items(), parts, strict=True)
            }
        )

    unpacked.restarts = getattr(program, "restarts", 1)  # type: ignore[attr-defined]
    return made_of(unpacked, program)
