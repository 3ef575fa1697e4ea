"""Dreams ``(x, h)`` of a model, shown to a guide in the shape of data, with what else is known of each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Unit
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_helm.layers.missing import has_missing
from pyro_helm.programs.contract import Site, check_observes, check_plates
from pyro_helm.programs.discrete import elementwise
from pyro_helm.programs.layered import structure_of
from pyro_helm.programs.particles import Particles, Program, paired
from pyro_helm.programs.recorder import Recorder, minibatch_of, recorded, without_subsamples
from pyro_helm.programs.site_log_prob import log_prob
from pyro_helm.runtime.captured_graphs import is_capturing


def draw_from_model(
    model: Program,
    guide: Program,
    num_particles: int,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    shared: bool = False,
) -> Particles:
    """Draw dreams ``(x, h) ~ p(x, h)`` from the model and score ``h`` under the guide that is shown ``x``.

    As many dreams per particle as there are data. Draws are constants. The guide must take the keyword
    ``observations={site: value}``, as for :class:`pyro.infer.ReweightedWakeSleep`. It is run once for every particle,
    and shown dreams in the shape of the data, ``[data, ...]`` or with a plate of restarts ``[restarts, data, ...]``, in
    which a minibatch stands at its rows; observations of other names than the dreams stay as they are. The library's
    own guides are run once for all particles. Where a value of the data is missing (NaN), it is in the dream.

    Raises:
        ValueError: where sites and plates break the shape convention, naming the site and the remedy; for a model with
            a ``pyro.factor``, or a guide that reads other observations and no dream.

    """
    kwargs = {} if kwargs is None else kwargs
    with torch.no_grad():
        recorder = Recorder(num_particles, {}, detach=True)
        model_sites = recorded(poutine.uncondition(model), recorder, args, kwargs)
    check_observes(model_sites)
    check_no_factors(model_sites)
    dreamt = {name: site for name, site in model_sites.items() if site["infer"].get("was_observed")}
    latents = {name: site for name, site in model_sites.items() if name not in dreamt}
    given = kwargs.get("observations")
    given = given if isinstance(given, Mapping) else {}
    if structure_of(guide) == "recognition":
        runs = _all_at_once(latents, dreamt, num_particles, given)
    else:
        check_plates(without_subsamples(model_sites).values())
        runs = _one_by_one(latents, dreamt, num_particles, given, minibatch_of(model_sites))
    particles = [
        paired(model_sites, _recognised(guide, recorder, args, kwargs, dreamt, shown), shared=shared)
        for recorder, shown in runs
    ]
    joined = replace(particles[0], guide_sites=_side_by_side([one.guide_sites for one in particles]))
    # no dream belongs to a datum, so that each counts for the average of theirs
    scales = {name: scale if name in joined.shared else _average(scale) for name, scale in joined.scales.items()}
    return replace(joined, scales=scales)


def _all_at_once(
    latents: Mapping[str, Site], dreamt: Mapping[str, Site], num_particles: int, given: Mapping[str, Any]
) -> Iterator[tuple[Recorder, Shown]]:
    """One run of the guide, that is shown the dreams of all particles."""
    values = {name: site["value"] for name, site in latents.items()}
    dream = {name: missing_as(given.get(name), site["value"]) for name, site in dreamt.items()}
    yield Recorder(num_particles, values), Shown({**others(given, dreamt, {}), **dream})


def _one_by_one(
    latents: Mapping[str, Site],
    dreamt: Mapping[str, Site],
    num_particles: int,
    given: Mapping[str, Any],
    rows: Mapping[str, Tensor],
) -> Iterator[tuple[Recorder, Shown]]:
    """A run of the guide for each particle, that is shown its dreams beside the caller's other observations."""
    kept = others(given, dreamt, rows)
    for number in range(num_particles):
        values = {name: of_particle(site, number) for name, site in latents.items()}
        dream = {n: in_its_place(of_particle(site, number), site, given.get(n), rows) for n, site in dreamt.items()}
        yield Recorder(1, values), Shown({**kept, **dream})


def _recognised(
    guide: Program,
    recorder: Recorder,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    dreamt: Mapping[str, Site],
    shown: Shown,
) -> dict[str, Site]:
    """Sites of a guide that is shown dreams."""
    try:
        guide_sites = recorded(guide, recorder, args, {**kwargs, "observations": shown})
    except KeyError as error:
        raise ValueError(
            f"the sleep phase shows the guide dreams of the model's observed sites ({', '.join(dreamt)}), but it asked "
            f"for {error}; name what it is shown after the sites, or use a scheme without a sleep phase"
        ) from error
    except TypeError as error:
        if "observations" not in str(error):
            raise
        raise TypeError(
            "the sleep phase shows dreams to the guide as its keyword argument observations; the guide must take it, "
            f"and the scheme be called with observations by keyword ({error})"
        ) from error
    check_dreams_were_read(shown, dreamt)
    return guide_sites


def _average(scale: float | Tensor) -> float | Tensor:
    return scale.mean(-1, keepdim=True) if isinstance(scale, Tensor) and scale.dim() else scale


def _side_by_side(runs: Sequence[Mapping[str, Site]]) -> Mapping[str, Site]:
    """Sites of several runs as those of one, with the particles of all."""
    first, *rest = runs
    for other in rest:
        if other.keys() != first.keys():
            raise ValueError(
                f"the guide has sites {', '.join(first)} for one dream and {', '.join(other)} for another; it must "
                "have the same for all"
            )
    if not rest:
        return first
    return {name: {**first[name], "log_prob": _stacked([log_prob(run[name]) for run in runs])} for name in first}


def _stacked(log_probs: Sequence[Tensor]) -> Tensor:
    return torch.cat(torch.broadcast_tensors(*log_probs))


class Shown(dict[str, Any]):
    """Observations that note which of them a program has read.

    >>> shown = Shown({"x": 1, "label": 2})
    >>> shown["x"], sorted(shown.read)
    (1, ['x'])
    """

    def __init__(self, observations: Mapping[str, Any]) -> None:
        super().__init__(observations)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value under a name, or the default without one."""
        self.read.add(name)
        return super().get(name, default)

    # whoever goes through them, to copy or unpack them say, may read them all

    def __iter__(self) -> Iterator[str]:
        self.read |= set(self.keys())
        return super().__iter__()

    def items(self) -> Any:
        """All of them."""
        self.read |= set(self.keys())
        return super().items()

    def values(self) -> Any:
        """All of their values."""
        self.read |= set(self.keys())
        return super().values()


def check_no_factors(model_sites: Mapping[str, Site]) -> None:
    """Refuse a model with a ``pyro.factor``, which has no part in what is drawn from it."""
    for name, site in model_sites.items():
        if isinstance(elementwise(site["fn"]), Unit):
            raise ValueError(
                f"the model has a pyro.factor {name!r}, which the dreams of a sleep phase cannot follow; write it as a "
                "distribution, or use a scheme without a sleep phase"
            )


def check_dreams_were_read(shown: Shown, dreamt: Mapping[str, Site]) -> None:
    """Refuse a guide that has read other observations and no dream: it may have recognised the data instead."""
    if shown.read and not shown.read & dreamt.keys():
        raise ValueError(
            f"the sleep phase shows the guide dreams of the model's observed sites ({', '.join(dreamt)}), but it read "
            f"{', '.join(sorted(shown.read))} alone; name what it is shown after the sites, or use a scheme without a "
            "sleep phase"
        )


def others(given: Mapping[str, Any], dreamt: Mapping[str, Site], rows: Mapping[str, Tensor]) -> dict[str, Any]:
    """The caller's observations of which there is no dream.

    What a site has observed under another name than its own is left out: the guide would take the datum for the dream.

    Args:
        given: the caller's observations.
        dreamt: sites of the model that were observed.
        rows: of each subsampled plate, ``[rows]``, by its name.

    """
    renamed = [site["infer"].get("obs") for name, site in dreamt.items() if name not in given]
    return {
        name: value
        for name, value in given.items()
        if name not in dreamt and not any(_is_of(seen, value, rows) for seen in renamed)
    }


def _is_of(seen: Any, value: Any, rows: Mapping[str, Tensor]) -> bool:
    """Whether a site's observed value is one of the caller's observations, or some rows of it."""
    if not isinstance(seen, Tensor) or not isinstance(value, Tensor) or not seen.numel():
        return False
    if seen.untyped_storage().data_ptr() == value.untyped_storage().data_ptr():
        return True
    taken = [value, *(value[index] for index in rows.values() if value.dim() and len(value) > int(index.max()))]
    return not is_capturing() and any(one.shape == seen.shape and torch.equal(one.to(seen), seen) for one in taken)


def of_particle(site: Site, number: int) -> Tensor:
    """One particle's value of a site, ``[restarts, data, *event]``, as of a program that is run without particles."""
    value: Tensor = site["value"]
    event_dim = 0 if site_is_subsample(site) else site["fn"].event_dim
    if value.dim() - event_dim < 3:
        return value
    value = value[number if len(value) > 1 else 0]
    depth = max((-frame.dim for frame in site["cond_indep_stack"]), default=0)
    while value.dim() - event_dim > depth and len(value) == 1:
        value = value[0]
    return value


def in_its_place(dream: Tensor, site: Site, given: Any, rows: Mapping[str, Tensor]) -> Tensor:
    """Dreams of a minibatch at its rows of the data that a site was given, or as they are if that is all data.

    Args:
        dream: ``[restarts, data, *event]``, without restarts where there are none.
        site: which was dreamt.
        given: the caller's observations of its name.
        rows: of each subsampled plate, by its name.

    """
    for frame in site["cond_indep_stack"]:
        dim = -1 - site["fn"].event_dim
        if frame.dim != -1 or frame.name not in rows or not isinstance(given, Tensor) or given.dim() < -dim:
            continue
        if given.shape[dim] == frame.full_size != frame.size:
            place = rows[frame.name].to(dream.device)
            whole = given.to(dream).expand(*dream.shape[:dim], *given.shape[dim:])
            return missing_as(given, whole.index_copy(dim, place, dream))
    return missing_as(given, dream)


def missing_as(given: Any, dream: Tensor) -> Tensor:
    """The dream ``[..., data, units]`` with NaN where the data have it; unchanged if they are of another shape."""
    if not isinstance(given, Tensor) or not has_missing(given):
        return dream
    if given.shape != dream.shape[max(0, dream.dim() - given.dim()) :]:
        return dream
    return torch.where(given.isnan(), torch.nan, dream)
