"""Gibbs: the posterior by persistent chains, with no help from a guide.

    h ~ p(h | x) by Gibbs moves from where the chain of this datum stood        (one or more sweeps over all units)
    d/dtheta  mean_k log p(x, h_k)
    d/dphi    mean_k log q(h_k | x)                 (lowers KL(posterior || q); left out without a guide)

A chain goes on where it was when its datum comes again, known by all that reaches the program of it; since model and
posterior change slowly, a sweep at a time keeps it close to equilibrium. New data start from the guide, or from the
prior without one. The value, ``mean_k log p(x, h_k)``, is a lower bound on ``log p(x)`` since states are discrete, with
the entropy of the posterior as its gap.

Neal, Connectionist learning of belief networks, Artificial Intelligence 56, 1992.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pyro
import torch
from torch import Tensor

from pyro_helm.latents.gibbs_moves import sweep
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.memory import Memory
from pyro_helm.programs.pair import Programs
from pyro_helm.programs.row_keys import keys_of
from pyro_helm.runtime.arguments import is_whole
from pyro_helm.schemes.base import Estimate, Scheme


class Gibbs(Scheme):
    """Gradient of ``log p(x)`` for the model from posterior draws; the guide, if there is one, learns them too.

    For Bernoulli and Categorical sites of any program. A chain belongs to a datum, and is kept for as long as the model
    lives. A datum is known by its observed values, by what else is named in the call (tensors, arrays or lists with the
    data in front, in arguments or in mappings), by the masks of its sites, by its row of a subsampled plate, and among
    those that are equal in all this by its place among them. What a program knows of a row in other ways, an attribute
    that is set before each call say, must be passed to it as well, or data that differ in it alone share a chain.

    A copy goes on from the same chains. Pickled or loaded, they go to the first model that the scheme is used on.

    Args:
        num_particles: chains per datum and restart.
        num_sweeps: over all units, in every step.
        block_size: units of a site drawn jointly, from all of their states.
        max_data: data whose chains are kept. Of more, those that were used longest ago are dropped with a warning, and
            begin anew when they come again.

    Raises:
        ValueError: for settings out of range; in use, for more data at once than ``max_data``; in training, for
            programs that are made anew at every step.
        TypeError: in use, for latent sites that are neither Bernoulli nor Categorical.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> Gibbs().loss(model, None, observations={"x": x}) > 0
    True
    """

    name = "gibbs"
    captures = False  # it remembers the steps before
    needs_guide = False

    def __init__(
        self, num_particles: int = 1, *, num_sweeps: int = 1, block_size: int = 1, max_data: int = 100_000
    ) -> None:
        super().__init__(num_particles)
        for setting, value in (("num_sweeps", num_sweeps), ("block_size", block_size), ("max_data", max_data)):
            if not is_whole(value) or value < 1:
                raise ValueError(f"{setting} must be a whole number of at least 1, got {value!r}")
        self.num_sweeps = int(num_sweeps)
        self.block_size = int(block_size)
        self.max_data = int(max_data)
        self._chains = Memory("Gibbs")

    def state_dict(self) -> dict[str, Tensor]:
        """All chains of the one model in use, as ``"number/keys"``, ``"number/used"`` and ``"number/states/site"``.

        Raises:
            ValueError: if it has been used on several models.

        """
        every = self._chains.only().values()
        return {
            f"{number}/{part}": value for number, chains in enumerate(every) for part, value in chains.state().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up the chains of a :meth:`state_dict`; the first model that comes goes on with them.

        Raises:
            ValueError: for a state of something else.

        """
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in state.items():
            number, _, part = name.partition("/")
            parts.setdefault(number, {})[part] = value
        if any(not {"keys", "used"} < known.keys() for known in parts.values()):
            raise ValueError(f"this is no state of Gibbs: it holds {', '.join(sorted(state)[:3])}")
        every = [_Chains(known) for known in parts.values()]
        self._chains.load({chains.kind(): chains for chains in every})

    def estimate(self, programs: Programs) -> Estimate:
        """``log p(x, h)`` of posterior draws summed over the data, ``[restarts]``, in nats."""
        model, args, kwargs = programs.model, programs.args, programs.kwargs
        of_model = self._chains.of(model, None)
        with torch.no_grad():
            draw = programs.draw_from_prior if programs.guide is None else programs.draw_from_guide
            start = draw(self.num_particles)
            shape = start.log_joint.shape
            states = {
                name: site["value"].expand(self.num_particles, *shape[1:], *site["fn"].event_shape)
                for name, site in start.model_sites.items()
                if not site["is_observed"]
            }
            chains = of_model.setdefault(_kind(states), _Chains())
            # of the library's own machines the observed values are all that there is
            keys = keys_of(start) if type(model) is BeliefNetwork else keys_of(start, args, kwargs)
            states = chains.recall(keys, states)
            with pyro.validation_enabled(False):
                for _ in range(self.num_sweeps):
                    states = sweep(model, states, start.minibatch, args, kwargs, block_size=self.block_size)
            chains.remember(keys, states, self.max_data)
        particles = programs.score({**start.minibatch, **states})
        log_joint = particles.log_joint
        surrogate = log_joint if programs.guide is None else log_joint + particles.log_guide
        value = particles.sum_over_data(log_joint.mean(0))
        return Estimate(value, particles.sum_over_data(surrogate.mean(0)))


def _kind(states: Mapping[str, Tensor]) -> tuple[Any, ...]:
    """What chains must agree in to go on from one another: sites with their events, numbers of chains and restarts."""
    return tuple(sorted((name, value.shape[:2], value.shape[3:]) for name, value in states.items()))


class _Chains:
    """The states of all chains of one kind of one model, by the key of their datum."""

    def __init__(self, state: Mapping[str, Tensor] | None = None) -> None:
        state = {} if state is None else state
        self.keys = state.get("keys", torch.empty(0, dtype=torch.long)).clone()
        self.used = state.get("used", torch.empty(0, dtype=torch.long)).clone()
        """The call in which each datum came last."""
        self.states = {name[len("states/") :]: value.clone() for name, value in state.items() if "states/" in name}

    def state(self) -> dict[str, Tensor]:
        """All there is, from which another goes on as it would."""
        states = {f"states/{name}": value for name, value in self.states.items()}
        return {name: value.clone() for name, value in {"keys": self.keys, "used": self.used, **states}.items()}

    def kind(self) -> tuple[Any, ...]:
        """As :func:`_kind` of the states that are kept."""
        return _kind({name: value.movedim(0, 2) for name, value in self.states.items()})

    def recall(self, keys: Tensor, start: dict[str, Tensor]) -> dict[str, Tensor]:
        """States ``[chains, restarts, data, *event]`` of these data, those of ``start`` for new ones."""
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
        """Keep these states, of data that have come before or not, and no more than so many."""
        if len(keys) > max_data:
            raise ValueError(
                f"Gibbs keeps the chains of {max_data} data, but was given {len(keys)} at once; raise max_data, or use "
                "minibatches"
            )
        # small integers, since all chains of all data are kept; by datum, [data, chains, restarts, *event]
        stored = {name: value.movedim(2, 0).to(torch.int16) for name, value in states.items()}
        merged, place = torch.cat([self.keys.to(keys.device), keys]).unique(return_inverse=True)
        now = int(self.used.max()) + 1 if len(self.used) else 0
        used = _merged(self.used, torch.full_like(keys, now), place, len(merged))
        newest = torch.arange(len(merged), device=merged.device)
        if len(merged) > max_data:
            newest = used.argsort(descending=True, stable=True)[:max_data].sort().values
            warnings.warn(
                f"Gibbs keeps the chains of {max_data} data and has dropped those that were used longest ago, which "
                "begin anew when they come again; raise max_data if there are more data than that",
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
