"""Particles: joint draws of a model and a guide, scored site by site.

The one place that runs Pyro programs for an inference scheme; everything after it is arithmetic on tensors of
shape ``[particles, restarts, data]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_helm.conventions import Site, check_batch_shape, check_pairing, check_plates, common_scale

Program = Callable[..., Any]
"""A Pyro model or guide."""


@dataclass(frozen=True)
class Particles:
    """Joint draws of a model and a guide with their log-probabilities, in nats.

    Args:
        model_sites: every site of the model, latent and observed.
        guide_sites: every site of the guide.
        scale: what each datum counts for: the full size over the minibatch's for a subsampled plate, times any
            ``poutine.scale`` around both programs. Not applied to the log-probabilities, since it belongs outside the
            logarithm of a multi-sample bound.

    """

    model_sites: Mapping[str, Site]
    guide_sites: Mapping[str, Site]
    scale: float | Tensor

    @cached_property
    def log_p(self) -> dict[str, Tensor]:
        """Log-probability of each model site, broadcastable to ``[particles, restarts, data]``."""
        return {name: _log_prob(site) for name, site in self.model_sites.items()}

    @cached_property
    def log_q(self) -> dict[str, Tensor]:
        """Log-probability of each guide site, broadcastable to ``[particles, restarts, data]``."""
        return {name: _log_prob(site) for name, site in self.guide_sites.items()}

    @property
    def scored(self) -> set[str]:
        """Guide sites whose draws carry no gradient, so that a scheme must follow them by their score function."""
        return {name for name, site in self.guide_sites.items() if not site["value"].requires_grad}

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

    def sum_over_data(self, per_datum: Tensor) -> Tensor:
        """Scaled total of a quantity ``[restarts, data]`` over the data, ``[restarts]``."""
        return (self.scale * per_datum).sum(-1)


def draw_from_guide(
    model: Program,
    guide: Program,
    num_particles: int,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    pathwise: bool = False,
) -> Particles:
    """Draw ``h ~ q(h | x)`` from the guide and score it under guide and model.

    Args:
        model: Pyro model, called with ``args`` and ``kwargs``.
        guide: Pyro guide, called likewise.
        num_particles: draws per datum and restart.
        args: positional arguments of both programs.
        kwargs: keyword arguments of both programs.
        pathwise: let gradients pass through reparameterised draws; otherwise every draw is a constant.

    Raises:
        ValueError: where sites and plates break the shape convention, naming the site and the remedy.

    """
    kwargs = {} if kwargs is None else kwargs
    guide_sites = _run(guide, num_particles, args, kwargs, detach=not pathwise)
    draws = {name: site["value"] for name, site in guide_sites.items() if not site["is_observed"]}
    model_sites = _run(model, num_particles, args, kwargs, values=draws)
    return _pair(model_sites, guide_sites)


def draw_from_model(
    model: Program,
    guide: Program,
    num_particles: int,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Particles:
    """Draw dreams ``(x, h) ~ p(x, h)`` from the model and score ``h`` under the guide that is shown ``x``.

    As many dreams per particle as there are data. Draws are constants. The guide must take the keyword
    ``observations={site: value}``, as for :class:`pyro.infer.ReweightedWakeSleep`.

    Raises:
        ValueError: where sites and plates break the shape convention, naming the site and the remedy.

    """
    kwargs = {} if kwargs is None else kwargs
    with torch.no_grad():
        model_sites = _run(poutine.uncondition(model), num_particles, args, kwargs, detach=True)
    observed = [name for name, site in model_sites.items() if site["infer"].get("was_observed")]
    dream = {name: model_sites[name]["value"] for name in observed}
    latents = {name: site["value"] for name, site in model_sites.items() if name not in dream}
    try:
        guide_sites = _run(guide, num_particles, args, {**kwargs, "observations": dream}, values=latents)
    except TypeError as error:
        if "observations" not in str(error):
            raise
        raise TypeError(
            "the sleep phase shows dreams to the guide as its keyword argument observations; the guide must take it, "
            f"and the scheme be called with observations by keyword ({error})"
        ) from error
    particles = _pair(model_sites, guide_sites)
    # no dream belongs to a datum, so that each counts for the average of theirs
    scale = particles.scale
    return replace(particles, scale=scale.mean(-1, keepdim=True)) if isinstance(scale, Tensor) else particles


def _run(
    program: Program,
    num_particles: int,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    values: Mapping[str, Tensor] | None = None,
    detach: bool = False,
) -> dict[str, Site]:
    recorder = _Recorder(num_particles, {} if values is None else values, detach=detach)
    with recorder:
        program(*args, **kwargs)
    return recorder.sites


class _Recorder(Messenger):  # type: ignore[misc]
    """Records sample sites, drawing latent ones once per particle or taking their values as given.

    Standing outermost, it does in one step what a plate of particles, a replay and a trace would do in three, and
    without writing a distribution's parameters out for every particle.
    """

    def __init__(self, num_particles: int, values: Mapping[str, Tensor], *, detach: bool) -> None:
        super().__init__()
        self.num_particles = num_particles
        self.values = values
        self.detach = detach
        self.sites: dict[str, Site] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["done"] or msg["is_observed"]:
            return
        if msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]
        elif site_is_subsample(msg) or self.num_particles == 1:
            return
        else:
            msg["value"] = _draw(msg["fn"], self.num_particles)
        msg["done"] = True

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if msg["infer"].get("_deterministic") or msg["infer"].get("_do_not_trace"):
            return
        name = msg["name"]
        if name in self.sites and not site_is_subsample(msg):
            raise ValueError(f"two sample sites are named {name!r}; every site needs a name of its own")
        if self.detach and isinstance(msg["value"], Tensor):
            msg["value"] = msg["value"].detach()
        self.sites[name] = msg.copy()


def _draw(fn: Any, num_particles: int) -> Tensor:
    """One draw per particle, ``[particles, restarts, data, ...]``."""
    batch = fn.batch_shape
    if len(batch) < 3:
        value: Tensor = fn((num_particles,) + (1,) * (2 - len(batch)))
    else:
        value = fn.expand((num_particles, *batch[1:]))() if batch[0] == 1 else fn()
    return value


def _pair(model_sites: dict[str, Site], guide_sites: dict[str, Site]) -> Particles:
    model_sites = {name: site for name, site in model_sites.items() if not site_is_subsample(site)}
    guide_sites = {
        name: site for name, site in guide_sites.items() if not (site_is_subsample(site) or site["is_observed"])
    }
    check_pairing(model_sites, guide_sites)
    if not guide_sites:
        raise ValueError("the guide has no latent site, so there is nothing to infer")
    sites = [*model_sites.values(), *guide_sites.values()]
    check_plates(sites)
    return Particles(model_sites, guide_sites, common_scale(sites))


def _log_prob(site: Site) -> Tensor:
    """Log-probability of a site, zero where it is masked, ``[particles or 1, restarts or 1, data or 1]``."""
    fn, value, mask = site["fn"], site["value"], site["mask"]
    if isinstance(mask, Tensor):
        # a value that is masked, NaN say, would reach the gradient of all the others: another takes its place
        inside = mask.reshape(mask.shape + (1,) * fn.event_dim)
        value = torch.where(inside, value, fn.sample().detach())
    log_prob: Tensor = fn.log_prob(value)
    if isinstance(mask, Tensor):
        log_prob = torch.where(mask, log_prob, torch.zeros((), dtype=log_prob.dtype, device=log_prob.device))
    elif mask is False:
        log_prob = torch.zeros_like(log_prob)
    check_batch_shape(site, log_prob.shape)
    return log_prob.reshape((1,) * (3 - log_prob.dim()) + log_prob.shape)


def _total(log_probs: Iterable[Tensor]) -> Tensor:
    first, *rest = log_probs
    for log_prob in rest:
        first = first + log_prob
    return first
