"""What schemes ask of a Pyro model and guide: which sites they share, which plates they declare, how they are scaled.

Whatever would make a weight per datum meaningless, or silently mix data, is refused in a sentence that names the site.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Size, Tensor

Site = Mapping[str, Any]
"""A recorded sample site: Pyro's message, with ``name, fn, value, scale, mask, is_observed, cond_indep_stack``."""

PARTICLES_DIM = -3


def check_pairing(model_sites: Mapping[str, Site], guide_sites: Mapping[str, Site]) -> None:
    """Refuse latent sites that only one of the two programs has."""
    for name, site in model_sites.items():
        is_latent = not site["is_observed"] and not site["infer"].get("was_observed")
        if is_latent and name not in guide_sites:
            raise ValueError(
                f"latent site {name!r} of the model is missing in the guide; sample it there or observe it"
            )
    for name, site in guide_sites.items():
        if name not in model_sites and not site["infer"].get("is_auxiliary"):
            raise ValueError(
                f"site {name!r} of the guide is missing in the model; sample it there or mark it "
                'infer={"is_auxiliary": True}'
            )
        if name in model_sites and model_sites[name]["is_observed"]:
            raise ValueError(f"site {name!r} is sampled in the guide but observed in the model; drop it from the guide")


def check_plates(sites: Iterable[Site]) -> None:
    """Refuse plates for which a weight per datum is not defined or would silently mix data."""
    data_plate: dict[str | None, str] = {}
    for site in sites:
        name = site["name"]
        data = None
        for frame in site["cond_indep_stack"]:
            if not frame.vectorized:
                raise ValueError(f"site {name!r} is in the sequential plate {frame.name!r}; give the plate a dim")
            if frame.dim < -2:
                raise ValueError(
                    f"site {name!r} is in plate {frame.name!r} with dim={frame.dim}; only -1 (data) and -2 (restarts) "
                    "are free, declare other dimensions as events with .to_event()"
                )
            if frame.dim == -1:
                data = frame.name
        data_plate.setdefault(data, name)
    if len(data_plate) > 1:
        (plate, inside), (other, outside) = list(data_plate.items())[:2]
        raise ValueError(
            f"site {inside!r} is in {_describe(plate)} and site {outside!r} in {_describe(other)}; all sites must "
            "share the data plate at dim=-1, or none may have one"
        )


def _describe(plate: str | None) -> str:
    return "no plate at dim=-1" if plate is None else f"plate {plate!r} at dim=-1"


def common_scale(sites: list[Site]) -> float | Tensor:
    """The one scale of all sites; refuse several, which could not stand outside the logarithm."""
    first = sites[0]
    for site in sites[1:]:
        if not _same(site["scale"], first["scale"]):
            raise ValueError(
                f"site {site['name']!r} has scale {site['scale']} and site {first['name']!r} scale {first['scale']}; "
                "all sites of model and guide must share one scale, which is then applied outside the logarithm"
            )
    scale: float | Tensor = first["scale"]
    return scale


def _same(a: float | Tensor, b: float | Tensor) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return bool(a == b) if not (isinstance(a, Tensor) or isinstance(b, Tensor)) else False


def check_batch_shape(site: Site, shape: Size) -> None:
    """Refuse batch dimensions that no plate declares."""
    declared = {frame.dim for frame in site["cond_indep_stack"]}
    for dim in range(-len(shape), 0):
        if shape[dim] > 1 and dim != PARTICLES_DIM and dim not in declared:
            raise ValueError(
                f"site {site['name']!r} has {shape[dim]} entries along dimension {dim} of its batch shape, "
                "but no plate there; put it in a plate, or declare the dimension as an event with .to_event()"
            )
