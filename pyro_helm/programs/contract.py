"""What schemes ask of a Pyro model and guide: which sites they share, which plates they declare, how they are scaled.

Whatever would make a weight per datum meaningless, or silently mix data, is refused in a sentence that names the site.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pyro.distributions import RelaxedBernoulli, RelaxedOneHotCategorical, Unit
from torch import Size, Tensor
from torch.distributions import Distribution

from pyro_helm.programs.discrete import elementwise, num_values
from pyro_helm.programs.supports import described, same_values
from pyro_helm.runtime.captured_graphs import is_capturing

Site = Mapping[str, Any]
"""A recorded sample site: Pyro's message, with ``name, fn, value, scale, mask, is_observed, cond_indep_stack``."""

PARTICLES_DIM = -3

_PLAIN = frozenset((Size, bool, int, float, str, type(None)))
"""Types of most of what a distribution holds, which are no tensors: every step asks each."""


def check_samples_only(guide_sites: Mapping[str, Site]) -> None:
    """Refuse a guide that observes something, or has a factor."""
    for name, site in guide_sites.items():
        if site["is_observed"] and isinstance(elementwise(site["fn"]), Unit):
            raise ValueError(
                f"the guide has a factor {name!r}, so its draws would not follow the distribution that is scored; take "
                "the factor off in the model instead, as pyro.factor(name, -log_factor)"
            )
        if site["is_observed"]:
            raise ValueError(
                f"the guide observes site {name!r}, but a guide only samples what the model does not observe; drop obs "
                "there, or give the model first and the guide second if they were swapped"
            )


def check_observes(sites: Mapping[str, Site]) -> None:
    """Refuse a model that observes nothing."""
    if not any(site["is_observed"] or site["infer"].get("was_observed") for site in sites.values()):
        raise ValueError(
            f"the model observes nothing, its sites are {', '.join(sites) or 'none'}; hand the data to a sample site "
            "as obs=, or give the model first and the guide second if they were swapped"
        )


def check_values(model_sites: Mapping[str, Site], guide_sites: Mapping[str, Site], *, relaxed: bool = False) -> None:
    """Refuse sites that the guide draws other values for than the model's; with ``relaxed``, but for relaxed ones."""
    for name in guide_sites.keys() & model_sites.keys():
        ours, theirs = model_sites[name]["fn"], guide_sites[name]["fn"]
        if ours.event_shape != theirs.event_shape:
            raise ValueError(
                f"site {name!r} has events of shape {list(theirs.event_shape)} in the guide and "
                f"{list(ours.event_shape)} in the model; they must be the same"
            )
        if relaxed and isinstance(elementwise(theirs), (RelaxedBernoulli, RelaxedOneHotCategorical)):
            continue
        if not same_values(ours, theirs):
            raise ValueError(
                f"site {name!r} is a {described(theirs)} in the guide, but a {described(ours)} in the model; the "
                "guide must draw values that the model's distribution has, and all of them"
            )


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
        if name not in model_sites and site["mask"] is not False and num_values(site["fn"]) is not None:
            raise ValueError(
                f"auxiliary site {name!r} of the guide is discrete, so that log q(h | x) would be a sum over its "
                "values; make it a latent site of the model too, or sum it out in the guide"
            )
        if name in model_sites and model_sites[name]["is_observed"]:
            raise ValueError(f"site {name!r} is sampled in the guide but observed in the model; drop it from the guide")


def versions(site: Site) -> list[tuple[Tensor, int]]:
    """Tensors, of any shape ``[...]``, that a site is scored by, and how often each was written to."""
    tensors = [value for value in (site["value"], site["mask"]) if isinstance(value, Tensor)]
    _add_tensors(site["fn"], tensors)
    try:
        return [(tensor, tensor._version) for tensor in tensors]
    except RuntimeError:  # tensors of inference mode count no writes
        return [(tensor, tensor._version) for tensor in tensors if not tensor.is_inference()]


def _add_tensors(fn: Distribution, tensors: list[Tensor]) -> None:
    for value in fn.__dict__.values():
        if type(value) in _PLAIN:
            continue
        if isinstance(value, Tensor):
            tensors.append(value)
        elif isinstance(value, Distribution):
            _add_tensors(value, tensors)


def check_unchanged(sites: Iterable[Site]) -> None:
    """Refuse sites whose tensors were written to after the site, which would be scored as what they became."""
    for site in sites:
        for tensor, version in site["versions"]:
            if tensor._version != version:
                what = "value" if tensor is site["value"] else "mask" if tensor is site["mask"] else "distribution"
                raise ValueError(
                    f"the {what} of site {site['name']!r} was changed in place after pyro.sample, so that the site "
                    "can't be scored; let the program write to a copy, made by .clone()"
                )


def check_plates(sites: Iterable[Site]) -> frozenset[str]:
    """Names of the sites outside the data plate, which all data share.

    Empty where no site is in a data plate: the program is then one datum. Refuses plates for which a weight per datum
    is not defined or would silently mix data.
    """
    sites = list(sites)
    _check_restarts(sites)
    inside: dict[str, str] = {}
    outside = set()
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
        if data is None:
            outside.add(name)
        elif inside.setdefault(name, data) != data:
            raise ValueError(
                f"site {name!r} is in plate {inside[name]!r} at dim=-1 in one program and in plate {data!r} in the "
                "other; give the plate one name"
            )
    for name in inside.keys() & outside:
        raise ValueError(
            f"site {name!r} is in the data plate in one program and outside it in the other, in no plate at dim=-1; it "
            "must be in the plate in both or in neither"
        )
    return frozenset(outside) if inside else frozenset()


def check_one_plate(sites: Iterable[Site]) -> None:
    """Refuse several data plates, of whose data only a sum can be taken."""
    inside: dict[str, str] = {}
    for site in sites:
        for frame in site["cond_indep_stack"]:
            if frame.dim == -1:
                inside.setdefault(frame.name, site["name"])
    if len(inside) > 1:
        (plate, one), (other, another) = list(inside.items())[:2]
        raise ValueError(
            f"site {one!r} is in plate {plate!r} at dim=-1 and site {another!r} in plate {other!r} at dim=-1; for a "
            "weight per datum all must share the data plate there; declare other dimensions as events with .to_event(),"
            " or train with a scheme whose bound is a sum: Reinforce, NVIL, DisARM, Relaxed or WakeSleep"
        )


def _restarts(sites: Iterable[Site]) -> dict[str | None, str]:
    """A site for each plate of several rows at dim=-2, under None one outside."""
    found: dict[str | None, str] = {}
    for site in sites:
        plates = [frame.name for frame in site["cond_indep_stack"] if frame.dim == -2 and frame.size > 1]
        found.setdefault(plates[0] if plates else None, site["name"])
    return found


def _check_restarts(sites: Iterable[Site]) -> None:
    """Refuse several plates at dim=-2, each of which would pass for restarts."""
    plates = [(plate, name) for plate, name in _restarts(sites).items() if plate is not None]
    if len(plates) > 1:
        (plate, one), (other, another) = plates[:2]
        raise ValueError(
            f"site {one!r} is in plate {plate!r} at dim=-2 and site {another!r} in plate {other!r}; dim=-2 is for "
            "restarts, which all sites must share, declare other dimensions as events with .to_event()"
        )


def check_all_in_restarts(sites: Iterable[Site]) -> None:
    """Refuse sites outside the restarts plate that others are in: every restart would weigh them as its own."""
    found = _restarts(sites)
    if len(found) > 1 and None in found:
        outside = found.pop(None)
        plate, inside = next(iter(found.items()))
        raise ValueError(
            f"site {inside!r} is in plate {plate!r} at dim=-2 and site {outside!r} in no plate there, so weights per "
            f"datum and restart are undefined. Put {outside!r} in the plate too; or, if that is no plate of restarts, "
            "declare its dimension as an event with .to_event()"
        )


def check_none_shared(shared: frozenset[str], plate_sites: Iterable[str]) -> None:
    """Refuse sites outside the data plate, for which there is no weight per datum."""
    if shared:
        outside, inside = sorted(shared)[0], next(name for name in plate_sites if name not in shared)
        raise ValueError(
            f"site {outside!r} is outside the data plate, but site {inside!r} is inside it. All data share "
            f"{outside!r}, so importance weights per datum are undefined. Move it into the plate, condition on it, or "
            "use Reinforce, NVIL, DisARM, Relaxed or WakeSleep, whose bound is a sum over the data"
        )


def scales_of(sites: Iterable[Site]) -> dict[str, float | Tensor]:
    """Scale of each site, a number or ``[..., data]``; refuse one that differs between model and guide."""
    scales: dict[str, float | Tensor] = {}
    for site in sites:
        name = site["name"]
        if not _same(scales.setdefault(name, site["scale"]), site["scale"]):
            raise ValueError(
                f"site {name!r} has scale {scales[name]} in one program and scale {site['scale']} in the other; scale "
                "it in both alike, and subsample plates alike"
            )
    return scales


def common_scale(scales: Mapping[str, float | Tensor]) -> float | Tensor:
    """The one scale of all sites, a number or ``[..., data]``; refuse several, which can't leave the logarithm."""
    (one, first), *others = scales.items()
    for name, scale in others:
        if not _same(scale, first):
            raise ValueError(
                f"site {name!r} has scale {scale} and site {one!r} scale {first}; all sites must share one scale, "
                "which is then applied outside the logarithm, but with a scheme whose bound is a sum over the sites: "
                "Reinforce, NVIL, DisARM, Relaxed or WakeSleep"
            )
    return first


def all_same(scales: Iterable[float | Tensor]) -> bool:
    """Whether all of these, numbers or ``[..., data]``, are the same."""
    first, *others = scales
    return all(_same(scale, first) for scale in others)


def _same(a: float | Tensor, b: float | Tensor) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        # a minibatch's weights are scaled anew for every site
        return a.shape == b.shape if is_capturing() else torch.equal(a, b)
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
