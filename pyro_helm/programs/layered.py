"""What layered models and guides share: sizes, site names, initial values and plates.

Sizes are written bottom to top, visible units first; sites are called ``x, h1, h2, ...`` in that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import NoneType
from typing import Any, Literal

import pyro
import torch
from torch import Tensor

from pyro_helm.runtime.arguments import checked_seed, is_whole
from pyro_helm.runtime.shown import counted

Observations = Mapping[str, Tensor]
"""Observed values by site name, each ``[..., data, units]`` of zeros and ones."""


def site_names(sizes: Sequence[int]) -> list[str]:
    """Names of the sample sites, bottom to top.

    >>> site_names((32, 24, 2))
    ['x', 'h1', 'h2']
    """
    return ["x", *(f"h{layer}" for layer in range(1, len(sizes)))]


def checked_sizes(sizes: Any, restarts: Any) -> tuple[tuple[int, ...], int]:
    """Both, as Python's; ValueError unless there are two layers or more, and all are positive integers."""
    units = list(sizes) if isinstance(sizes, Iterable) and not isinstance(sizes, str) else []
    if len(units) < 2 or not all(is_whole(size) and size > 0 for size in units):
        raise ValueError(
            "sizes must be two or more positive integers, bottom to top, visible units first; got "
            f"{tuple(units) or sizes!r}"
        )
    if not is_whole(restarts) or restarts < 1:
        raise ValueError(f"restarts must be a positive integer, got {restarts!r}")
    return tuple(map(int, units)), int(restarts)


def shown_sizes(program: Any) -> str:
    """What a layered program prints of itself, above its layers.

    >>> BeliefNetwork((6, 4), imaging="odds", restarts=8)
    BeliefNetwork(
      6-4 units, bottom to top; odds; 8 restarts
      (generative): PyroModuleList(
        (0-1): 2 x Odds()
      )
    )
    """
    imaging = dict.fromkeys(getattr(program, "imaging", ()))
    restarts = counted(program.restarts, "restart")
    # a program of sequences has widths, since rows are of other sizes than its layers
    sizes = "-".join(map(str, getattr(program, "sizes", None) or program.widths))
    return "; ".join([f"{sizes} units, bottom to top", *["/".join(imaging)] * bool(imaging), restarts])


def checked_observations(
    observations: Observations | None, sizes: Sequence[int], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Observations ``[..., units]`` in the dtype of the parameters, so that bool and integer data will do.

    Raises:
        ValueError: for a site that does not exist, or values of another width than the layer's.

    """
    if not isinstance(observations, (Mapping, NoneType)):
        raise TypeError(f'observations must be values by site, {{"x": values}}, got a {type(observations).__name__}')
    widths = dict(zip(site_names(sizes), sizes, strict=True))
    checked = {}
    for name, value in (observations or {}).items():
        if name not in widths:
            advice = "; for labelled data use LabelledBeliefNetwork and LabelledRecognition, or condition="
            raise ValueError(
                f"there is no site {name!r} to observe; the sites are {', '.join(widths)}{advice * (name == 'label')}"
            )
        if not isinstance(value, Tensor):
            raise TypeError(f"observations of {name!r} must be a tensor, got {type(value).__name__}")
        if value.dim() < 2 or value.shape[-1] != widths[name]:
            raise ValueError(
                f"observations of {name!r} must have shape [..., data, {widths[name]}], got {list(value.shape)}"
            )
        checked[name] = value.to(dtype)
    return checked


def structure_of(program: object) -> Literal["generative", "recognition"] | None:
    """What a program's class declares in ``structure``: that its layers are all there is to it; None if nothing.

    A subclass may do anything in its ``forward``, so it declares nothing unless it says so itself.
    """
    structure: Literal["generative", "recognition"] | None = vars(type(program)).get("structure")
    return structure


def is_layered(program: object) -> bool:
    """Whether a program is a layered one, whose modules say in ``restarts`` how many machines they are."""
    return visible_units(program) is not None and isinstance(getattr(program, "restarts", None), int)


def visible_units(program: object) -> int | None:
    """Width of the data that a layered program takes; None for any other program."""
    sizes = getattr(program, "sizes", None)
    return sizes[0] if isinstance(sizes, tuple) and sizes and isinstance(sizes[0], int) else None


def check_sizes_agree(model: object, guide: object) -> None:
    """Raise ValueError if a layered model and its layered guide have different sizes or numbers of restarts."""
    if visible_units(model) is None or visible_units(guide) is None:
        return
    for what in ("sizes", "restarts"):
        ours, theirs = getattr(model, what, None), getattr(guide, what, None)
        if ours != theirs:
            raise ValueError(f"model and guide must have the same {what}, got {ours} and {theirs}")


@contextmanager
def layer_plates(restarts: int, num_data: int) -> Iterator[None]:
    """Plates of every layered program: ``restarts`` at dim -2, if there are several, and ``data`` at dim -1."""
    with ExitStack() as stack:
        if restarts > 1:
            stack.enter_context(pyro.plate("restarts", restarts, dim=-2))
        stack.enter_context(pyro.plate("data", num_data, dim=-1))
        yield


def seeded_generator(seed: int | None, stream: int) -> torch.Generator | None:
    """Generator of initial values; streams 0 and 1 of one seed differ, so that model and guide do."""
    return None if seed is None else torch.Generator().manual_seed(2 * checked_seed(seed) + stream)
