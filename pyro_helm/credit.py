"""Local credit: which terms of the bound a draw of the guide can influence, and so is to be judged by.

    d/dphi E[f] = E[ sum_s  signal_s  d/dphi log q_s ],     signal_s = sum of the terms that depend on the draws of s

A term that does not depend on them has mean zero times the score of s, so leaving it out changes no mean:
Rao-Blackwellisation by site. (As a control variate it may still be of use, as in REINFORCE.) Of a layered
machine, h2 is judged by ``log p(h2) + log p(h1 | h2) - log q(h2 | h1)`` and not by how well h1 explains the data. What
depends on what is read from the programs themselves, by running them once on tensors that remember their origin
(:mod:`pyro.ops.provenance`).

Schulman, Heess, Weber & Abbeel, Gradient estimation using stochastic computation graphs, 2015; for layered networks
Mnih & Gregor, Neural variational inference and learning in belief networks, 2014, section 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pyro
import torch
from pyro.ops.provenance import get_provenance
from torch import Tensor

from pyro_helm.conventions import Site
from pyro_helm.memory import Memory
from pyro_helm.particles import Particles, Program, draw_from_guide
from pyro_helm.placement import forked_rng, placement


class Dependencies(NamedTuple):
    """Which latent sites the distribution of each site depends on."""

    model: Mapping[str, frozenset[str]]
    guide: Mapping[str, frozenset[str]]

    def influenced_by(self, site: str) -> set[str]:
        """A guide site and those whose draws depend on it, directly or through others."""
        reached = {site}
        for name, parents in self.guide.items():  # in the order of the program, so that parents come first
            if parents & reached:
                reached.add(name)
        return reached


def dependencies(
    particles: Particles, model: Program, guide: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Dependencies:
    """What depends on what in a model and guide.

    Read once for each pair and set of sites, and remembered as long as both programs live.

    Args:
        particles: of the pair, whose sites are asked about.
        model: as it was called.
        guide: likewise.
        args: likewise.
        kwargs: likewise.

    """
    known = _KNOWN.of(model, guide)
    sites = (tuple(particles.model_sites), tuple(particles.guide_sites))
    if sites not in known:
        place, number = placement(model), max(map(len, particles.log_q.values()))
        with torch.no_grad(), forked_rng(0, place["device"]), pyro.validation_enabled(False):
            tracked = draw_from_guide(model, guide, number, args, kwargs, shared=True, track=True)
        known[sites] = Dependencies(
            {name: _origins(site) for name, site in tracked.model_sites.items()},
            {name: _origins(site) for name, site in tracked.guide_sites.items()},
        )
    found: Dependencies = known[sites]
    return found


def signals(particles: Particles, known: Dependencies, *sites: str) -> dict[str, Tensor]:
    """What the draws of each scored guide site are judged by, ``[particles, restarts, data]``.

    The scaled terms ``log p - log q`` that they can influence, in nats, of the draw's own datum where both site and
    term are in the data plate. A site that all data share is judged by the sum over them, ``[particles, restarts, 1]``.

    Args:
        particles: of the pair.
        known: what depends on what in it.
        sites: which are asked about; all scored ones if none is named.

    """
    terms = [(name, known.model[name] | {name}, log_p) for name, log_p in particles.log_p.items()]
    terms += [(name, known.guide[name] | {name}, -log_q) for name, log_q in particles.log_q.items()]
    found = {}
    for site in sites or particles.scored:
        reached = known.influenced_by(site)
        signal: Tensor = torch.zeros(())
        for name, depends, term in terms:
            if depends & reached:
                scaled = particles.scale_of(name) * term.detach()
                if particles.log_q[site].shape[-2] < particles.restarts:
                    scaled = particles.of_restart(scaled)  # the draw is judged by the sum over all restarts
                mixes = particles.plate_of(site) != particles.plate_of(name)
                signal = signal + (scaled.sum(-1, keepdim=True) if mixes else scaled)
        if site not in particles.shared and signal.shape[-1] != particles.log_q[site].shape[-1]:
            signal = signal.expand(*signal.shape[:-1], particles.log_q[site].shape[-1])
        found[site] = signal
    return found


def _origins(site: Site) -> frozenset[str]:
    origins: frozenset[str] = get_provenance([site["fn"].log_prob(site["value"]), site["mask"]])
    return origins


_KNOWN = Memory()
