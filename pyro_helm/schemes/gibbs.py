"""Gibbs: the posterior by persistent chains, with no help from a guide.

    h ~ p(h | x) by Gibbs moves from where the chain of this datum stood        (one or more sweeps over all units)
    d/dtheta  mean_k log p(x, h_k)
    d/dphi    mean_k log q(h_k | x)                 (lowers KL(posterior || q); left out without a guide)

A chain goes on where it was when its datum comes again; since model and posterior change slowly, a sweep at a time
keeps it close to equilibrium. New data start from the guide, or from the prior without one. The value, ``mean_k log
p(x, h_k)``, is a lower bound on ``log p(x)`` since states are discrete, with the entropy of the posterior as its gap.

Neal, Connectionist learning of belief networks, Artificial Intelligence 56, 1992.
"""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor

from pyro_helm.arguments import is_whole
from pyro_helm.conventions import Site
from pyro_helm.gibbs_moves import sweep
from pyro_helm.memory import Memory
from pyro_helm.particles import Particles, Program, draw_from_guide, draw_from_prior, score
from pyro_helm.schemes.scheme import Scheme, with_gradient_of


class Gibbs(Scheme):
    """Gradient of ``log p(x)`` for the model from posterior draws; the guide, if there is one, learns them too.

    For Bernoulli and Categorical sites of any program. A chain belongs to the values of a datum, so that equal data
    share theirs, and is kept for as long as the model lives.

    Args:
        num_particles: chains per datum and restart.
        num_sweeps: over all units, in every step.
        block_size: units of a site drawn jointly, from all of their states.

    Raises:
        ValueError: for settings out of range.
        TypeError: in use, for latent sites that are neither Bernoulli nor Categorical.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> Gibbs().loss(model, None, observations={"x": x}) > 0
    True
    """

    name = "gibbs"
    captures = False  # it remembers the steps before
    needs_guide = False

    def __init__(self, num_particles: int = 1, *, num_sweeps: int = 1, block_size: int = 1) -> None:
        super().__init__(num_particles)
        for setting, value in (("num_sweeps", num_sweeps), ("block_size", block_size)):
            if not is_whole(value) or value < 1:
                raise ValueError(f"{setting} must be a whole number of at least 1, got {value!r}")
        self.num_sweeps = int(num_sweeps)
        self.block_size = int(block_size)
        self._chains = Memory()

    def restart_losses(self, model: Program, guide: Program | None, *args: Any, **kwargs: Any) -> Tensor:
        """``-log p(x, h)`` of posterior draws summed over the data, ``[restarts]``, in nats."""
        with torch.no_grad():
            if guide is None:
                start = draw_from_prior(model, self.num_particles, args, kwargs)
            else:
                start = draw_from_guide(model, guide, self.num_particles, args, kwargs)
            shape = start.log_joint.shape
            states = {
                name: site["value"].expand(self.num_particles, *shape[1:], *site["fn"].event_shape)
                for name, site in start.model_sites.items()
                if not site["is_observed"]
            }
            chains = self._chains.of(model, None).setdefault((self.num_particles, shape[1], tuple(states)), _Chains())
            keys = keys_of(start)
            states = chains.recall(keys, states)
            with pyro.validation_enabled(False):
                for _ in range(self.num_sweeps):
                    states = sweep(model, states, start.minibatch, args, kwargs, block_size=self.block_size)
            chains.remember(keys, states)
        values = {**start.minibatch, **states}
        if guide is None:
            particles = score(model, values, args, kwargs)
            surrogate = particles.log_joint
        else:
            particles = draw_from_guide(model, guide, self.num_particles, args, kwargs, values=values)
            surrogate = particles.log_joint + particles.log_guide
        value = particles.sum_over_data(particles.log_joint.mean(0))
        return -with_gradient_of(value, particles.sum_over_data(surrogate.mean(0)))


class _Chains:
    """The states of all chains of one model, by the key of their datum."""

    def __init__(self) -> None:
        self.keys = torch.empty(0, dtype=torch.long)
        self.states: dict[str, Tensor] = {}

    def recall(self, keys: Tensor, start: dict[str, Tensor]) -> dict[str, Tensor]:
        """States ``[chains, restarts, data, *event]`` of these data, those of ``start`` for new ones."""
        if not len(self.keys):
            return start
        place = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        known = self.keys[place] == keys
        return {
            name: torch.where(
                known.reshape(-1, *[1] * (new.dim() - 3)), self.states[name][place].to(new).movedim(0, 2), new
            )
            for name, new in start.items()
        }

    def remember(self, keys: Tensor, states: dict[str, Tensor]) -> None:
        """Keep these states, of data that have come before or not."""
        # small integers, since all chains of all data are kept; by datum, [data, chains, restarts, *event]
        stored = {name: value.movedim(2, 0).to(torch.int16) for name, value in states.items()}
        merged = torch.cat([self.keys.to(keys.device), keys])
        self.keys, place = merged.unique(return_inverse=True)
        for name, value in stored.items():
            old = self.states.get(name, value[:0])
            kept = value.new_empty(len(self.keys), *value.shape[1:])
            kept[place[: len(old)]] = old
            kept[place[len(old) :]] = value
            self.states[name] = kept


def keys_of(particles: Particles) -> Tensor:
    """A number for the observed values of each datum, ``[data]``; equal data have equal ones."""
    observed = [site for site in particles.model_sites.values() if site["is_observed"]]
    rows = [_rows(site) for site in observed if site["fn"].event_shape.numel()]  # a pyro.factor has no values
    if not rows:
        raise ValueError("the model has no observed site, by whose values Gibbs would know a datum and its chain again")
    number = max((len(row) for row in rows), default=particles.log_joint.shape[-1])
    bits = torch.cat([row.expand(number, -1) for row in rows], dim=-1).double().contiguous().view(torch.long)
    generator = torch.Generator().manual_seed(0)
    multipliers = torch.randint(-(2**62), 2**62, (bits.shape[-1],), generator=generator) * 2 + 1
    # products and sums modulo 2^64; a collision would start a chain in another's state, which does no harm
    mixed: Tensor = (bits ^ (bits >> 29)) * multipliers.to(bits.device)
    return (mixed ^ (mixed >> 32)).sum(-1)


def _rows(site: Site) -> Tensor:
    """Observed values as ``[data, features]``, of all restarts together if each has its own."""
    value = site["value"].detach()
    batch = value.shape[: value.dim() - site["fn"].event_dim]
    by_datum: Tensor = value.reshape(-1, batch[-1] if batch else 1, site["fn"].event_shape.numel())
    return by_datum.movedim(1, 0).flatten(1)
