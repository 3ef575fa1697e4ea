"""Rao-Blackwellisation by site: each site's score is weighted only by the terms of the bound that its draw influences.

    d/dphi E[f] = E[ sum_s  signal_s  d/dphi log q_s ],     signal_s = sum of the terms that may depend on draws of s

A term that does not depend on them has mean zero times the score of s, so leaving it out changes no mean. (As a
control variate it may still be of use, as in REINFORCE.) A term is left out only where the structure of the programs
shows that it is independent, and that is known of the library's own pairs alone, a :class:`BeliefNetwork` with a
:class:`FactorialRecognition` or an :class:`AutoregressiveRecognition`: there, without skip connections, the learning
signal of h2 is ``log p(h2) + log p(h1 | h2) - log q(h2 | h1)``, without how well h1 explains the data. What any other
program does with a draw can't be seen from outside (it may write it into a buffer, pass it through numpy or remember it
until the next call), so the learning signal of each of its sites has all terms.

Schulman, Heess, Weber & Abbeel, Gradient estimation using stochastic computation graphs, 2015; for layered networks
Mnih & Gregor, Neural variational inference and learning in belief networks, 2014, section 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

from pyro_helm.guides import AutoregressiveRecognition, FactorialRecognition, IterativeRecognition, LateralRecognition
from pyro_helm.layers import IMAGING
from pyro_helm.layers.missing import PartlySeen, PartlySeenGroups
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.contract import Site
from pyro_helm.programs.layered import site_names
from pyro_helm.programs.pair import Programs
from pyro_helm.programs.particles import Particles, Program


class Dependencies(NamedTuple):
    """Which latent sites the term of each site may depend on, besides its own; what is not named, it does not."""

    model: Mapping[str, frozenset[str]]
    guide: Mapping[str, frozenset[str]]
    declared: bool = False
    """Whether that is the structure of both programs, by which terms may be left out, or simply all sites."""

    def influenced_by(self, site: str) -> set[str]:
        """A guide site and those whose draws may depend on it, directly or through others."""
        reached: set[str] = set()
        for name, parents in self.guide.items():  # in the order of the draws: none can influence an earlier one
            if name == site or parents & reached:
                reached.add(name)
        return reached

    def drawn_from(self, site: str) -> list[str]:
        """Earlier guide sites that a guide site may depend on."""
        order = list(self.guide)
        return [name for name in order[: order.index(site)] if name in self.guide[site]]


def dependencies(particles: Particles, programs: Programs) -> Dependencies:
    """What may depend on what in these particles.

    Nothing is remembered from call to call: a program may do another thing each time.

    Args:
        particles: of the pair.
        programs: that they were drawn from.

    """
    layered = _layered(programs.model, programs.guide)
    if layered is not None and _has_sites_of(particles, layered):
        return layered
    every = frozenset(particles.guide_sites)
    return Dependencies(dict.fromkeys(particles.model_sites, every), dict.fromkeys(particles.guide_sites, every))


def signals(particles: Particles, known: Dependencies, *sites: str) -> dict[str, Tensor]:
    """Learning signal of each scored guide site, ``[particles, restarts, data]``.

    The sum of the scaled terms ``log p - log q`` that its draws may influence, in nats, of the draw's own datum where
    both site and term are in the data plate. For a site that all data share, and for one from which such a site is
    drawn, it is summed over the data, ``[particles, restarts, 1]``.

    Args:
        particles: of the pair.
        known: what depends on what in it.
        sites: which are asked about; all scored ones if none is named.

    """
    terms = [(name, known.model[name] | {name}, log_p) for name, log_p in particles.log_p.items()]
    terms += [(name, known.guide[name] | {name}, -log_q) for name, log_q in particles.log_q.items()]
    found = {}
    plates = particles.plates
    narrow = {name for name, log_q in particles.log_q.items() if log_q.shape[-2] < particles.restarts}
    for site in sites or particles.scored:
        reached = known.influenced_by(site)
        of_all_data = len({plates[name] for name in reached}) > 1
        own = particles.log_q[site]
        signal: Tensor = torch.zeros(())
        for name, depends, term in terms:
            if depends & reached:
                scaled = particles.scale_of(name) * term.detach()
                if site in narrow:
                    scaled = particles.of_restart(scaled)  # the signal is the sum over all restarts
                elif not narrow.isdisjoint(reached):
                    scaled = scaled.sum(-2, keepdim=True)  # it reaches the other restarts through one outside
                mixes = of_all_data or plates[site] != plates[name]
                signal = signal + (scaled.sum(-1, keepdim=True) if mixes else scaled)
        if site not in particles.shared and signal.shape[-1] != own.shape[-1]:
            signal = signal.expand(*signal.shape[:-1], own.shape[-1])
        found[site] = signal
    return found


def impossible_data(particles: Particles) -> dict[str | None, Tensor]:
    """Which data some particle gives probability zero, so that their bound is minus infinity.

    By the data plate, or None for sites that all data share, ``[1, restarts, data]``. Such a datum has no gradient;
    where it is what all data share that is impossible, so is every one of them.
    """
    found: dict[str | None, Tensor] = {}
    for name, log_p in (*particles.log_p.items(), *particles.log_q.items()):
        plate, never = particles.plates[name], (log_p.detach() == -torch.inf).any(0, keepdim=True)
        found[plate] = found[plate] | never if plate in found else never
    return found


def without_impossible(particles: Particles, known: Dependencies) -> Particles:
    """The particles without what :func:`impossible_data` finds; to the library's own pair nothing is impossible."""
    return particles if known.declared else without(particles, impossible_data(particles))


def without(particles: Particles, *impossible: Mapping[str | None, Tensor]) -> Particles:
    """The particles with log-probabilities of zero, constants, for the data that any of these name."""

    def left(site: Site, log_p: Tensor) -> Site:
        for data in impossible:
            for plate in {particles.plates[site["name"]], None} & data.keys():
                log_p = log_p.masked_fill(in_shape_of(log_p, data[plate]), 0.0)
        return {**site, "log_prob": log_p}

    return replace(
        particles,
        model_sites={name: left(site, particles.log_p[name]) for name, site in particles.model_sites.items()},
        guide_sites={name: left(site, particles.log_q[name]) for name, site in particles.guide_sites.items()},
    )


def in_shape_of(value: Tensor, impossible: Tensor) -> Tensor:
    """A mask for ``[particles, restarts, data]``: what several restarts or data share is impossible in any of them."""
    for dim in (-1, -2):
        if value.shape[dim] == 1:
            impossible = impossible.any(dim, keepdim=True)
    return impossible


def is_unaltered(program: object) -> bool:
    """Whether a program is one of the library's own, of which is known all that it does.

    Only the classes themselves are known: a subclass, a wrapper, a hook, a trunk, or a layer or method put in the place
    of theirs may do anything.
    """
    if type(program) is BeliefNetwork:
        layers = list(program.generative)
    elif isinstance(program, _GUIDES) and type(program) in _GUIDES and program.trunk is None:
        layers = list(program.recognition)
    else:
        return False
    return all(type(layer) in _LAYERS for layer in layers) and not any(map(_is_altered, (program, *layers)))


def _layered(model: Program, guide: Program) -> Dependencies | None:
    """The structure of a belief network and its recognition network; None for any other pair."""
    if type(model) is not BeliefNetwork or not isinstance(guide, _GUIDES):
        return None
    if not is_unaltered(model) or not is_unaltered(guide):
        return None
    names = site_names(model.sizes)
    generative = {name: frozenset(parents) for name, parents in model.parents.items()}
    recognition = {above: frozenset({below} - {"x"}) for below, above in pairwise(names)}
    return Dependencies(generative, recognition, declared=True)


_GUIDES = (FactorialRecognition, AutoregressiveRecognition, LateralRecognition, IterativeRecognition)
_LAYERS = frozenset({*IMAGING.values(), PartlySeen, PartlySeenGroups})


def _is_altered(module: Module) -> bool:
    """Whether the module has hooks or methods of its own besides those of its class."""
    if module._forward_hooks or module._forward_pre_hooks:
        return True
    kind: Any = type(module)  # typed as what can be hashed
    return not _methods(kind).isdisjoint(module.__dict__)


@cache
def _methods(kind: type) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if callable(getattr(kind, name)))


def _has_sites_of(particles: Particles, layered: Dependencies) -> bool:
    """Whether the sites are those of the layers: weights with a prior, say, are sites too, on which all depend."""
    return particles.model_sites.keys() == layered.model.keys() and particles.guide_sites.keys() <= layered.guide.keys()
