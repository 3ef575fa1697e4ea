"""Particles: joint draws of a model and a guide, scored site by site.

Here, and in :mod:`~pyro_helm.programs.dreams`, Pyro programs are run for an inference scheme; everything after it is
arithmetic on tensors of shape ``[particles, restarts, data]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_helm.programs.contract import (
    Site,
    all_same,
    check_all_in_restarts,
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
)
from pyro_helm.programs.recorder import Draw, Recorder, minibatch_of, recorded, without_subsamples
from pyro_helm.programs.site_log_prob import log_prob

Program = Callable[..., Any]
"""A Pyro model or guide."""


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
        """What each datum counts for, a number or ``[..., data]``, the same for all sites in the data plate."""
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

    @cached_property
    def log_joint(self) -> Tensor:
        """``log p(x, h)``, ``[particles, restarts, data]``."""
        return _total(self.log_p.values())

    @cached_property
    def log_guide(self) -> Tensor:
        """``log q(h | x)``, ``[particles, restarts, data]``."""
        return _total(self.log_q.values())

    @cached_property
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
        return (per_datum if counts_once else scaled(per_datum, self.scale)).sum(-1)

    def total(self, log_probs: Mapping[str, Tensor]) -> Tensor:
        """Scaled sum of some sites' log-probabilities over sites and data, ``[particles, restarts]``."""
        if not log_probs:
            return torch.zeros(())
        if self.is_of_one_scale:
            return self.sum_over_data(_total(map(self.of_restart, log_probs.values())))
        return _total(scaled(self.of_restart(log_p), self.scale_of(name)).sum(-1) for name, log_p in log_probs.items())

    @cached_property
    def is_of_one_scale(self) -> bool:
        """Whether all sites are in one data plate and count alike, so that their terms of a datum have a sum."""
        return (
            not self.shared and len({self.plates[name] for name in self.scales}) == 1 and all_same(self.scales.values())
        )

    @cached_property
    def plates(self) -> dict[str, str | None]:
        """Name of the data plate that each site is in; None for one that all data share, or without any plates."""
        plates: dict[str, str | None] = {}
        for name, site in (*self.guide_sites.items(), *self.model_sites.items()):
            plates[name] = None
            for frame in site["cond_indep_stack"]:
                if frame.dim == -1:
                    plates[name] = frame.name
        return plates

    @cached_property
    def restarts(self) -> int:
        """Size of the restarts plate, 1 without one."""
        sites = (*self.model_sites.values(), *self.guide_sites.values())
        return max((frame.size for site in sites for frame in site["cond_indep_stack"] if frame.dim == -2), default=1)

    def of_restart(self, log_p: Tensor) -> Tensor:
        """A site's log-probabilities ``[particles, restarts, data]``; each restart's share if outside their plate."""
        return log_p / self.restarts if log_p.shape[-2] < self.restarts else log_p

    def scale_of(self, name: str) -> float | Tensor:
        """What a site's log-probabilities count for, a number or ``[..., data]``."""
        return self.scales[name]

    def count_of(self, name: str) -> float | Tensor:
        """What a datum of a site's plate counts for, a number or ``[..., data]``: the most that any site there does."""
        counts = [scale for other, scale in self.scales.items() if self.plates[other] == self.plates[name]]
        if all_same(counts):
            return counts[0]
        least = max((count for count in counts if not isinstance(count, Tensor)), default=0.0)
        tensors = [count for count in counts if isinstance(count, Tensor)]
        return reduce(torch.maximum, tensors).clamp(min=least) if tensors else least


def scaled(log_prob: Tensor, scale: float | Tensor) -> Tensor:
    """What log-probabilities count for: nothing where the scale is 0, be they infinite.

    >>> scaled(torch.tensor([-2.0, -torch.inf]), torch.tensor([0.5, 0.0]))
    tensor([-1.,  0.])
    """
    product = scale * log_prob
    return product.masked_fill(scale == 0, 0.0) if isinstance(scale, Tensor) else product


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
    recorder = Recorder(num_particles, values or {}, detach=not pathwise, draw=draw)
    guide_sites = recorded(guide, recorder, args, kwargs)
    draws = {name: site["value"] for name, site in guide_sites.items() if not site["is_observed"]}
    model_sites = recorded(model, Recorder(num_particles, draws), args, kwargs)
    particles = paired(model_sites, guide_sites, shared=shared, relaxed=relaxed)
    check_observes(particles.model_sites)
    return particles


def draw_from_proposal(program: Program, proposal: Program, num_particles: int, kwargs: Mapping[str, Any]) -> Particles:
    """Draw the latent sites from a program that observes nothing and score them under another that does not either."""
    guide_sites = recorded(proposal, Recorder(num_particles, {}, detach=True), (), kwargs)
    draws = {name: site["value"] for name, site in guide_sites.items()}
    sites = recorded(program, Recorder(num_particles, draws), (), kwargs)
    check_samples_only(sites)
    return paired(sites, guide_sites, shared=False)


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
    recorder = Recorder(num_particles_of(values), values)
    sites = recorded(program, recorder, args, {} if kwargs is None else kwargs)
    for name, site in sites.items():
        if name not in values and not site["is_observed"] and not site_is_subsample(site):
            raise ValueError(f"latent site {name!r} was given no value; the sites with one are {', '.join(values)}")
    return _alone(sites)


def num_particles_of(values: Mapping[str, Tensor]) -> int:
    """Particles of given values ``[particles, restarts, data, ...]``; a minibatch's rows have no such dimension."""
    return max((len(value) for value in values.values() if value.dim() > 2), default=1)


def draw_from_prior(
    model: Program, num_particles: int, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
) -> Particles:
    """Draw the latent sites of a model from their prior, with its observed sites as they are.

    Raises:
        ValueError: where sites and plates break the shape convention, naming the site and the remedy.

    """
    return _alone(recorded(model, Recorder(num_particles, {}, detach=True), args, {} if kwargs is None else kwargs))


def paired(
    model_sites: Mapping[str, Site], guide_sites: Mapping[str, Site], *, shared: bool, relaxed: bool = False
) -> Particles:
    """Particles of what a run of each program recorded, checked to be of one inference problem."""
    check_unchanged((*guide_sites.values(), *model_sites.values()))
    minibatch = minibatch_of(model_sites) | minibatch_of(guide_sites)
    model_sites, guide_sites = without_subsamples(model_sites), without_subsamples(guide_sites)
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
    model_sites = without_subsamples(sites)
    check_none_shared(check_plates(model_sites.values()), model_sites)
    check_one_plate(model_sites.values())
    check_all_in_restarts(model_sites.values())
    scales = scales_of(model_sites.values())
    common_scale(scales)
    return Particles(model_sites, {}, scales, minibatch=minibatch_of(sites))


def _total(log_probs: Iterable[Tensor]) -> Tensor:
    first, *rest = log_probs
    for log_p in rest:
        first = first + log_p
    return first
