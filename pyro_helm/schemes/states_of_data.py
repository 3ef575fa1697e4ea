"""Latent states of each datum that a scheme keeps from step to step: chains, or a memory of the best."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pyro.distributions.util import sum_rightmost
from torch import Tensor
from torch.distributions import OneHotCategorical

from pyro_helm.layers.one_hot_groups import OneHotGroups
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.discrete import elementwise_log_prob, num_values, single_units
from pyro_helm.programs.memory import Memory
from pyro_helm.programs.pair import Programs
from pyro_helm.programs.particles import Particles
from pyro_helm.programs.row_keys import keys_of
from pyro_helm.programs.site_log_prob import log_prob
from pyro_helm.runtime.arguments import at_least_one
from pyro_helm.schemes.base import Scheme


class KeepsStates(Scheme):
    """A scheme that keeps so many latent states of each datum of a model, for as long as the model lives.

    A datum is known by its observed values, by what else is named in the call (tensors, arrays or lists with the data
    in front, in arguments or in mappings), by the masks of its sites, by its row of a subsampled plate, and among those
    that are equal in all this by its place among them.

    Args:
        num_particles: as for :class:`Scheme`.
        max_data: data whose states are kept; of more, those that were used longest ago are dropped with a warning.

    """

    captures = False  # it remembers the steps before

    def __init__(self, num_particles: int, max_data: int) -> None:
        super().__init__(num_particles)
        self.max_data = at_least_one("max_data", max_data)
        self._memory = Memory(type(self).__name__)

    def _recall(
        self, programs: Programs, particles: Particles, start: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], Callable[[dict[str, Tensor]], None]]:
        """States of these data, and what is to be called with those that they have next.

        To be called with gradients enabled in training, where programs that are made anew at every step are refused.

        Args:
            programs: of whose model the latent states are.
            particles: of them, with the data that are asked about.
            start: states of data that have not come before, ``[states, restarts, data, *event]``.

        """
        kept = self._memory.of(programs.model, None).setdefault(_kind(start), KeptStates(self._memory.owner))
        # of the library's own machines the observed values are all that there is
        called = () if type(programs.model) is BeliefNetwork else (programs.args, programs.kwargs)
        keys = keys_of(particles, *called)

        def remember(states: dict[str, Tensor]) -> None:
            kept.remember(keys, states, self.max_data)

        return kept.recall(keys, start), remember

    def forget(self) -> None:
        """Keep no states of any datum."""
        self._memory.load({})

    def state_dict(self) -> dict[str, Tensor]:
        """States ``[data, ...]`` of the one model in use: ``"number/keys"``, ``".../used"``, ``".../states/site"``.

        Raises:
            ValueError: if it has been used on several models.

        """
        every = self._memory.only().values()
        return {f"{number}/{part}": value for number, kept in enumerate(every) for part, value in kept.state().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up the tensors ``[data, ...]`` of a :meth:`state_dict`; the first model goes on with them.

        Raises:
            ValueError: for a state of something else.

        """
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in state.items():
            number, _, part = name.partition("/")
            parts.setdefault(number, {})[part] = value
        if any(not {"keys", "used"} < known.keys() for known in parts.values()):
            raise ValueError(f"this is no state of {type(self).__name__}: it holds {', '.join(sorted(state)[:3])}")
        every = [KeptStates(self._memory.owner, known) for known in parts.values()]
        self._memory.load({kept.kind(): kept for kept in every})


def latent_states(particles: Particles, num_particles: int) -> dict[str, Tensor]:
    """Values of the model's latent sites, ``[particles, restarts, data, *event]``."""
    shape = particles.log_joint.shape
    return {
        name: site["value"].expand(num_particles, *shape[1:], *site["fn"].event_shape)
        for name, site in particles.model_sites.items()
        if not site["is_observed"]
    }


def discrete_draws(particles: Particles, num_particles: int, scheme: str) -> dict[str, Tensor]:
    """As :func:`latent_states`, ``[particles, restarts, data, *event]``, of states that can be told apart and stored.

    Raises:
        TypeError: for a latent site that is not Bernoulli, Categorical or one-hot.
        ValueError: for auxiliary sites of the guide.

    """
    draws = latent_states(particles, num_particles)
    for name in draws:
        fn = single_units(particles.model_sites[name]["fn"])
        if num_values(fn) is None and not isinstance(fn, (OneHotCategorical, OneHotGroups)):
            raise TypeError(
                f"{scheme} keeps states of Bernoulli, Categorical and one-hot sites, but site {name!r} is a "
                f"{type(fn).__name__}; use Reinforce or another scheme that samples"
            )
    for name in particles.guide_sites.keys() - draws.keys():
        raise ValueError(f"site {name!r} of the guide is auxiliary, so that log q(h | x) is not known; drop it")
    return draws


def fingerprints(particles: Particles, states: Mapping[str, Tensor]) -> Tensor:
    """A number for each joint state, ``[states, restarts, data]``, equal for states that differ in masked units alone.

    Args:
        particles: of the model at these states.
        states: ``[states, restarts, data, *event]`` by site.

    """
    total = torch.zeros_like(particles.log_joint, dtype=torch.long)
    for seed, name in enumerate(states):
        total = total + log_prob(particles.model_sites[name], partial(_fingerprint, seed))
    return total


def _fingerprint(seed: int, fn: Any, value: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # sums modulo 2^64, which are exact
    multipliers = torch.randint(-(2**62), 2**62, fn.event_shape, generator=generator).to(value.device) * 2 + 1
    return elementwise_log_prob(
        fn, value, lambda single, elements: sum_rightmost(elements.long() * multipliers, len(single.event_shape))
    )


def taken(values: Tensor, index: Tensor) -> Tensor:
    """States ``[states, restarts, data, *event]`` of each restart and datum by their index there."""
    index = index.reshape(index.shape + (1,) * (values.dim() - index.dim()))
    return values.gather(0, index.expand(*index.shape[:3], *values.shape[3:]))


def _kind(states: Mapping[str, Tensor]) -> tuple[Any, ...]:
    """What states must agree in to go on from one another: sites with their events, numbers of states and restarts."""
    return tuple(sorted((name, value.shape[:2], value.shape[3:]) for name, value in states.items()))


class KeptStates:
    """The states of all data, of one kind and one model, by the key of their datum."""

    def __init__(self, owner: str | None, state: Mapping[str, Tensor] | None = None) -> None:
        self.owner = owner
        state = {} if state is None else state
        self.keys = state.get("keys", torch.empty(0, dtype=torch.long)).clone()
        self.used = state.get("used", torch.empty(0, dtype=torch.long)).clone()
        """The call in which each datum came last."""
        self.states = {name[len("states/") :]: value.clone() for name, value in state.items() if "states/" in name}

    def state(self) -> dict[str, Tensor]:
        """All there is, tensors ``[data, ...]``, from which another goes on as it would."""
        states = {f"states/{name}": value for name, value in self.states.items()}
        return {name: value.clone() for name, value in {"keys": self.keys, "used": self.used, **states}.items()}

    def kind(self) -> tuple[Any, ...]:
        """As :func:`_kind` of the states that are kept."""
        return _kind({name: value.movedim(0, 2) for name, value in self.states.items()})

    def recall(self, keys: Tensor, start: dict[str, Tensor]) -> dict[str, Tensor]:
        """States ``[states, restarts, data, *event]`` of these data, those of ``start`` for new ones."""
        if not len(self.keys):
            return start
        known_keys = self.keys.to(keys.device)
        place = torch.searchsorted(known_keys, keys).clamp(max=len(known_keys) - 1)
        known = known_keys[place] == keys
        return {
            name: torch.where(
                known.reshape(-1, *[1] * (new.dim() - 3)),
                self.states[name].to(new.device)[place].to(new).movedim(0, 2),
                new,
            )
            for name, new in start.items()
        }

    def remember(self, keys: Tensor, states: dict[str, Tensor], max_data: int) -> None:
        """Keep the states ``[states, restarts, data, *event]`` of data, known or new, by their ``keys[data]``.

        Raises:
            ValueError: for more than ``max_data`` data at once.

        """
        if len(keys) > max_data:
            raise ValueError(
                f"{self.owner} keeps the states of {max_data} data, but was given {len(keys)} at once; raise max_data, "
                "or use minibatches"
            )
        # small integers, since those of all data are kept; by datum, [data, states, restarts, *event]
        stored = {name: value.movedim(2, 0).to(torch.int16) for name, value in states.items()}
        merged, place = torch.cat([self.keys.to(keys.device), keys]).unique(return_inverse=True)
        now = int(self.used.max()) + 1 if len(self.used) else 0
        used = _merged(self.used, torch.full_like(keys, now), place, len(merged))
        newest = torch.arange(len(merged), device=merged.device)
        if len(merged) > max_data:
            newest = used.argsort(descending=True, stable=True)[:max_data].sort().values
            warnings.warn(
                f"{self.owner} keeps the states of {max_data} data and has dropped those that were used longest ago, "
                "which begin anew when they come again; raise max_data if there are more data than that",
                RuntimeWarning,
                stacklevel=2,
            )
        self.keys, self.used = merged[newest], used[newest]
        for name, value in stored.items():
            old = self.states.get(name, value[:0])
            self.states[name] = _merged(old, value, place, len(merged))[newest]


def _merged(old: Tensor, new: Tensor, place: Tensor, number: int) -> Tensor:
    """Rows of both in their places, the new ones where both have one."""
    rows = new.new_empty(number, *new.shape[1:])
    rows[place[: len(old)]] = old.to(new.device)
    rows[place[len(old) :]] = new
    return rows
