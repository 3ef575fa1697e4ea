"""Particles: joint draws of a model and a guide, scored site by site.

The one place that runs Pyro programs for an inference scheme; everything after it is arithmetic on tensors of
shape ``[particles, restarts, data]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Independent, MaskedDistribution
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_helm.programs.contract import (
    Site,
    all_same,
    check_all_in_restarts,
    check_batch_shape,
    check_none_shared,
    check_observes,
    check_one_plate,
    check_pairing,
    check_plates,
    check_samples_only,
    check_unchanged,
    check_values,
    common_scale,
    scales_of,
    versions,
)
from pyro_helm.programs.dreams import Shown, check_dreams_were_read, check_no_factors, in_its_place, of_particle, others
from pyro_helm.programs.layered import structure_of
from pyro_helm.programs.unclamped import drawable, unclamped_log_prob

Program = Callable[..., Any]
"""A Pyro model or guide."""

Draw = Callable[[Site, int], Tensor]
"""From a site and the number of particles to draws, ``[particles, restarts, data, *event]``."""


@dataclass(frozen=True)
class Particles:
    """Joint draws of a model and a guide with their log-probabilities, in nats.

    Args:
        model_sites: every site of the model, latent and observed.
        guide_sites: every site of the guide; none where a model was scored by itself.
        scales: what each site counts for, for each datum: the full size over the minibatch's for a subsampled plate,
            times any ``poutine.scale``. Not applied to the log-probabilities, since it belongs outside the logarithm of
            a multi-sample bound.
        shared: names of the sites outside the data plate, which all data share.
        minibatch: rows of each subsampled plate, by its name; a run that is given them as ``values`` takes them too.

    """

    model_sites: Mapping[str, Site]
    guide_sites: Mapping[str, Site]
    scales: Mapping[str, float | Tensor]
    shared: frozenset[str] = frozenset()
    minibatch: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def scale(self) -> float | Tensor:
        """What each datum counts for, the same for all sites in the data plate; none where they differ."""
        return common_scale({name: scale for name, scale in self.scales.items() if name not in self.shared})

    @cached_property
    def log_p(self) -> dict[str, Tensor]:
        """Log-probability of each model site, broadcastable to ``[particles, restarts, data]``."""
        return {name: log_prob(site) for name, site in self.model_sites.items()}

    @cached_property
    def log_q(self) -> dict[str, Tensor]:
        """Log-probability of each guide site, broadcastable to ``[particles, restarts, data]``."""
        return {name: log_prob(site) for name, site in self.guide_sites.items()}

    @property
    def scored(self) -> list[str]:
        """Guide sites whose draws carry no gradient, so that a scheme must follow them by their score function."""
        return [name for name, site in self.guide_sites.items() if not site["value"].requires_grad]

    @property
    def log_joint(self) -> Tensor:
        """``log p(x, h)``, ``[particles, restarts, data]``."""
        return _total(self.log_p.values())

    @property
    def log_guide(self) -> Tensor:
        """``log q(h | x)``, ``[particles, restarts, data]``."""
        return _total(self.log_q.values())

    @property
    def log_weight(self) -> Tensor:
        """``log p(x, h) - log q(h | x)``, ``[particles, restarts, data]``."""
        return self.log_joint - self.log_guide

    @property
    def elbo(self) -> Tensor:
        """``log p(x, h) - log q(h | x)`` summed over the data, ``[particles, restarts]``."""
        return self.total(self.log_p) - self.total(self.log_q)

    def sum_over_data(self, per_datum: Tensor) -> Tensor:
        """Scaled total of a quantity ``[restarts, data]`` over the data, ``[restarts]``."""
        counts_once = not isinstance(self.scale, Tensor) and self.scale == 1
        return (per_datum if counts_once else self.scale * per_datum).sum(-1)

    def total(self, log_probs: Mapping[str, Tensor]) -> Tensor:
        """Scaled sum of some sites' log-probabilities over sites and data, ``[particles, restarts]``."""
        if not log_probs:
            return torch.zeros(())
        if self.is_of_one_scale:
            return self.sum_over_data(_total(map(self.of_restart, log_probs.values())))
        scaled = ((self.scale_of(name) * self.of_restart(log_p)).sum(-1) for name, log_p in log_probs.items())
        return _total(scaled)

    @cached_property
    def is_of_one_scale(self) -> bool:
        """Whether all sites are in one data plate and count alike, so that their terms of a datum have a sum."""
        return not self.shared and len(set(map(self.plate_of, self.scales))) == 1 and all_same(self.scales.values())

    def plate_of(self, name: str) -> str | None:
        """Name of the data plate that a site is in; None for one that all data share, or without any plates."""
        site = self.model_sites[name] if name in self.model_sites else self.guide_sites[name]
        return next((frame.name for frame in site["cond_indep_stack"] if frame.dim == -1), None)

    @cached_property
    def restarts(self) -> int:
        """Size of the restarts plate, 1 without one."""
        sites = (*self.model_sites.values(), *self.guide_sites.values())
        return max((frame.size for site in sites for frame in site["cond_indep_stack"] if frame.dim == -2), default=1)

    def of_restart(self, log_p: Tensor) -> Tensor:
        """A site's log-probabilities, of which each restart has its share where the site is outside their plate."""
        return log_p / self.restarts if log_p.shape[-2] < self.restarts else log_p

    def scale_of(self, name: str) -> float | Tensor:
        """What a site's log-probabilities count for."""
        return self.scales[name]

    def count_of(self, name: str) -> float | Tensor:
        """What a datum of a site's plate counts for: the most that any site there does."""
        counts = [scale for other, scale in self.scales.items() if self.plate_of(other) == self.plate_of(name)]
        if all_same(counts):
            return counts[0]
        least = max((count for count in counts if not isinstance(count, Tensor)), default=0.0)
        tensors = [count for count in counts if isinstance(count, Tensor)]
        return reduce(torch.maximum, tensors).clamp(min=least) if tensors else least


def draw_from_guide(
    model: Program,
    guide: Program,
    num_particles: int,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    pathwise: bool = False,
    shared: bool = False,
    values: Mapping[str, Tensor] | None = None,
    draw: Draw | None = None,
    relaxed: bool = False,
) -> Particles:
    """Draw ``h ~ q(h | x)`` from the guide and score it under guide and model.

    Args:
        model: Pyro model, called with ``args`` and ``kwargs``.
        guide: Pyro guide, called likewise.
        num_particles: draws per datum and restart.
        args: positional arguments of both programs.
        kwargs: keyword arguments of both programs.
        pathwise: let gradients pass through reparameterised draws; otherwise every draw is a constant.
        shared: allow sites outside the data plate, which have no weight per datum.
        values: of guide sites that are not to be drawn, ``[particles or 1, restarts or 1, data or 1, *event]``.
        draw: what draws from the guide's distributions in place of Pyro, ``(site, num_particles) -> value``.
        relaxed: allow a guide's site to be a relaxed version of the model's.

    Raises:
        ValueError: where sites and plates break the shape convention, naming the site and the remedy.

    """
    kwargs = {} if kwargs is None else kwargs
    recorder = _Recorder(num_particles, values or {}, detach=not pathwise, draw=draw)
    guide_sites = _run(guide, recorder, args, kwargs)
    draws = {name: site["value"] for name, site in guide_sites.items() if not site["is_observed"]}
    model_sites = _run(model, _Recorder(num_particles, draws), args, kwargs)
    particles = _pair(model_sites, guide_sites, shared=shared, relaxed=relaxed)
    check_observes(particles.model_sites)
    return particles


def draw_from_proposal(program: Program, proposal: Program, num_particles: int, kwargs: Mapping[str, Any]) -> Particles:
    """Draw the latent sites from a program that observes nothing and score them under another that does not either."""
    guide_sites = _run(proposal, _Recorder(num_particles, {}, detach=True), (), kwargs)
    draws = {name: site["value"] for name, site in guide_sites.items()}
    sites = _run(program, _Recorder(num_particles, draws), (), kwargs)
    check_samples_only(sites)
    return _pair(sites, guide_sites, shared=False)


def score(
    program: Program,
    values: Mapping[str, Tensor],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Particles:
    """Score given latent values under a model alone, or under a guide as if it were one.

    Args:
        program: Pyro program, called with ``args`` and ``kwargs``.
        values: of every latent site, ``[particles or 1, restarts or 1, data or 1, *event]``, and the minibatch of
            another run if it is to be this one's.
        args: positional arguments of the program.
        kwargs: keyword arguments of the program.

    Raises:
        ValueError: for a latent site without a value, or sites and plates that break the shape convention.

    """
    # the rows of a minibatch have no dimension of particles
    num_particles = max((len(value) for value in values.values() if value.dim() > 2), default=1)
    recorder = _Recorder(num_particles, values)
    sites = _run(program, recorder, args, {} if kwargs is None else kwargs)
    for name, site in sites.items():
        if name not in values and not site["is_observed"] and not site_is_subsample(site):
            raise ValueError(f"latent site {name!r} was given no value; the sites with one are {', '.join(values)}")
    return _alone(sites)


def draw_from_prior(
    model: Program, num_particles: int, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
) -> Particles:
    """Draw the latent sites of a model from their prior, with its observed sites as they are.

    Raises:
        ValueError: where sites and plates break the shape convention, naming the site and the remedy.

    """
    return _alone(_run(model, _Recorder(num_particles, {}, detach=True), args, {} if kwargs is None else kwargs))


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
    own guides are run once for all particles.

    Raises:
        ValueError: where sites and plates break the shape convention, naming the site and the remedy; for a model with
            a ``pyro.factor``, or a guide that reads other observations and no dream.

    """
    kwargs = {} if kwargs is None else kwargs
    with torch.no_grad():
        recorder = _Recorder(num_particles, {}, detach=True)
        model_sites = _run(poutine.uncondition(model), recorder, args, kwargs)
    check_observes(model_sites)
    check_no_factors(model_sites)
    dreamt = {name: site for name, site in model_sites.items() if site["infer"].get("was_observed")}
    latents = {name: site for name, site in model_sites.items() if name not in dreamt}
    particles = []
    if structure_of(guide) == "recognition":
        values, dream = ({name: site["value"] for name, site in sites.items()} for sites in (latents, dreamt))
        guide_sites = _recognised(guide, _Recorder(num_particles, values), args, kwargs, dreamt, Shown(dream))
        particles.append(_pair(model_sites, guide_sites, shared=shared))
    else:
        check_plates(_without_subsamples(model_sites).values())
        given = kwargs.get("observations")
        given = given if isinstance(given, Mapping) else {}
        rows = _minibatch(model_sites)
        kept = others(given, dreamt, rows)
        for number in range(num_particles):
            values = {name: of_particle(site, number) for name, site in latents.items()}
            dream = {n: in_its_place(of_particle(site, number), site, given.get(n), rows) for n, site in dreamt.items()}
            guide_sites = _recognised(guide, _Recorder(1, values), args, kwargs, dreamt, Shown({**kept, **dream}))
            particles.append(_pair(model_sites, guide_sites, shared=shared))
    joined = replace(particles[0], guide_sites=_side_by_side([one.guide_sites for one in particles]))
    # no dream belongs to a datum, so that each counts for the average of theirs
    scales = {name: scale if name in joined.shared else _average(scale) for name, scale in joined.scales.items()}
    return replace(joined, scales=scales)


def _recognised(
    guide: Program,
    recorder: _Recorder,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    dreamt: Mapping[str, Site],
    shown: Shown,
) -> dict[str, Site]:
    """Sites of a guide that is shown dreams."""
    try:
        guide_sites = _run(guide, recorder, args, {**kwargs, "observations": shown})
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
    first, *others = runs
    for other in others:
        if other.keys() != first.keys():
            raise ValueError(
                f"the guide has sites {', '.join(first)} for one dream and {', '.join(other)} for another; it must "
                "have the same for all"
            )
    if not others:
        return first
    return {name: {**first[name], "log_prob": _stacked([log_prob(run[name]) for run in runs])} for name in first}


def _stacked(log_probs: Sequence[Tensor]) -> Tensor:
    return torch.cat(torch.broadcast_tensors(*log_probs))


def log_prob(site: Site, density: Callable[[Any, Tensor], Tensor] | None = None) -> Tensor:
    """Log-probability of a site, zero where it is masked, ``[particles or 1, restarts or 1, data or 1]``.

    Minus infinity for a value of probability 0, of which torch makes 1e-7 where it is given probabilities.

    Args:
        site: a recorded sample site.
        density: what scores a value in place of the distribution, ``(distribution, value) -> log_prob``.

    """
    if density is None and "log_prob" in site:
        known: Tensor = site["log_prob"]
        return known
    fn, value, mask = site["fn"], site["value"], site["mask"]
    if isinstance(mask, Tensor):
        # a value that is masked, NaN say, would reach the gradient of all the others: another takes its place
        inside = mask.reshape(mask.shape + (1,) * fn.event_dim)
        value = torch.where(inside, value, drawable(fn).sample().detach())
    value = _masked_inside(fn, value)
    log_p: Tensor = unclamped_log_prob(fn, value) if density is None else density(fn, value)
    if isinstance(mask, Tensor):
        log_p = torch.where(mask, log_p, torch.zeros((), dtype=log_p.dtype, device=log_p.device))
    elif mask is False:
        log_p = torch.zeros_like(log_p)
    check_batch_shape(site, log_p.shape)
    return log_p.reshape((1,) * (3 - log_p.dim()) + log_p.shape)


def _masked_inside(fn: Any, value: Tensor) -> Tensor:
    """The value with another in the place of what the distribution itself masks, single pixels that are missing say."""
    while isinstance(fn, Independent):
        fn = fn.base_dist
    mask = getattr(fn, "_mask", None) if isinstance(fn, MaskedDistribution) else None
    if not isinstance(mask, Tensor):
        return value
    return torch.where(mask.reshape(mask.shape + (1,) * fn.event_dim), value, drawable(fn).sample().detach())


def _run(program: Program, recorder: _Recorder, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Site]:
    with recorder:
        program(*args, **kwargs)
    return recorder.sites


class _Recorder(Messenger):  # type: ignore[misc]
    """Records sample sites, drawing latent ones once per particle or taking their values as given.

    Standing outermost, it does in one step what a plate of particles, a replay and a trace would do in three, and
    without writing a distribution's parameters out for every particle.
    """

    def __init__(
        self,
        num_particles: int,
        values: Mapping[str, Tensor],
        *,
        detach: bool = False,
        draw: Draw | None = None,
    ) -> None:
        super().__init__()
        self.num_particles = num_particles
        self.values = values
        self.detach = detach
        self.draw = draw
        self.sites: dict[str, Site] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["done"] or msg["is_observed"]:
            return
        if msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]
        elif site_is_subsample(msg):
            return
        elif self.draw is not None:
            msg["value"] = self.draw(msg, self.num_particles)
        elif self.num_particles == 1:
            # one that can be drawn from as it is is left to Pyro
            fn = drawable(msg["fn"])
            if fn is msg["fn"]:
                return
            msg["value"] = fn()
        else:
            msg["value"] = draw_each(msg["fn"], self.num_particles)
        msg["done"] = True

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if msg["infer"].get("_deterministic") or msg["infer"].get("_do_not_trace"):
            return
        name = msg["name"]
        if name in self.sites and not site_is_subsample(msg):
            raise ValueError(f"two sample sites are named {name!r}; every site needs a name of its own")
        if self.detach and isinstance(msg["value"], Tensor):
            msg["value"] = msg["value"].detach()
        self.sites[name] = msg | {"versions": versions(msg)}


def draw_each(fn: Any, num_particles: int) -> Tensor:
    """One draw per particle, ``[particles, restarts, data, *event]``."""
    fn = drawable(fn)
    batch = fn.batch_shape
    if len(batch) < 3:
        value: Tensor = fn((num_particles,) + (1,) * (2 - len(batch)))
    else:
        value = fn.expand((num_particles, *batch[1:]))() if batch[0] == 1 else fn()
    return value


def _without_subsamples(sites: Mapping[str, Site]) -> dict[str, Site]:
    return {name: site for name, site in sites.items() if not site_is_subsample(site)}


def _minibatch(sites: Mapping[str, Site]) -> dict[str, Tensor]:
    return {name: site["value"] for name, site in sites.items() if site_is_subsample(site)}


def _pair(
    model_sites: Mapping[str, Site], guide_sites: Mapping[str, Site], *, shared: bool, relaxed: bool = False
) -> Particles:
    check_unchanged((*guide_sites.values(), *model_sites.values()))
    minibatch = _minibatch(model_sites) | _minibatch(guide_sites)
    model_sites, guide_sites = _without_subsamples(model_sites), _without_subsamples(guide_sites)
    check_samples_only(guide_sites)
    check_pairing(model_sites, guide_sites)
    check_values(model_sites, guide_sites, relaxed=relaxed)
    if not guide_sites:
        raise ValueError("the guide has no latent site, so there is nothing to infer")
    sites = [*model_sites.values(), *guide_sites.values()]
    outside = check_plates(sites)
    scales = scales_of(sites)
    if not shared:
        check_none_shared(outside, [*model_sites, *guide_sites])
        check_one_plate(sites)
        check_all_in_restarts(sites)
        common_scale(scales)
    return Particles(model_sites, guide_sites, scales, outside, minibatch)


def _alone(sites: Mapping[str, Site]) -> Particles:
    check_unchanged(sites.values())
    model_sites = _without_subsamples(sites)
    check_none_shared(check_plates(model_sites.values()), model_sites)
    check_one_plate(model_sites.values())
    check_all_in_restarts(model_sites.values())
    scales = scales_of(model_sites.values())
    common_scale(scales)
    return Particles(model_sites, {}, scales, minibatch=_minibatch(sites))


def _total(log_probs: Iterable[Tensor]) -> Tensor:
    first, *rest = log_probs
    for log_p in rest:
        first = first + log_p
    return first
