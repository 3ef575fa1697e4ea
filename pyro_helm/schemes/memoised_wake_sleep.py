"""Memoised wake-sleep: each datum keeps the best latent states that its guide has ever proposed.

    M(x)        = the best of M(x) and of h_k ~ q(h | x), by p(x, h); no state twice
    w_h         = p(x, h) / sum_{h' in M} p(x, h'),     h in M(x)
    wake:       d/dtheta  log sum_{h in M} p(x, h)  =  sum_h w_h d/dtheta log p(x, h)
    replay:     d/dphi    sum_h w_h log q(h | x)                             (w held fixed)
    fantasy:    d/dphi    mean_k log q(h_k | x_k),  (x_k, h_k) ~ p(x, h)

The memory is a variational distribution on a few states, ``w``, whose bound ``log sum_{h in M} p(x, h) <= log p(x)`` no
proposal can lower: with the parameters held fixed it rises until the memory holds the most probable states, where it
stays. So it suits posteriors of few states, and what is rarely found is not lost again.

Hewitt, Le & Tenenbaum, Learning to learn generative programs with memoised wake-sleep, 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_helm.programs.pair import Programs
from pyro_helm.runtime.arguments import at_least_one, number
from pyro_helm.schemes.base import Estimate, normalised_weights
from pyro_helm.schemes.states_of_data import KeepsStates, discrete_draws, fingerprints, taken


class MemoisedWakeSleep(KeepsStates):
    """Wake-theta on remembered states; for the guide ``replay`` x replay + (1 - ``replay``) x fantasy.

    For Bernoulli, Categorical and one-hot sites of any program. Data are known again as by :class:`Gibbs`. The paper
    draws one of the remembered states; here their weighted mean is taken, which has the same expectation.

    Args:
        num_particles: new proposals per datum and restart in every step. The fantasy phase dreams as many per datum.
        memory_size: states that are kept of each datum and restart.
        replay: share of remembered states in the guide's gradient, from 0 (dreams alone) to 1 (replay alone).
        max_data: data whose states are kept. Of more, those that were used longest ago are dropped with a warning.

    Raises:
        ValueError: for settings out of range; in use, for more data at once than ``max_data``; in training, for
            programs that are made anew at every step.
        TypeError: in use, for latent sites of another kind.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> MemoisedWakeSleep(num_particles=5).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "memoised_wake_sleep"

    def __init__(
        self, num_particles: int = 1, *, memory_size: int = 5, replay: float = 1.0, max_data: int = 100_000
    ) -> None:
        super().__init__(num_particles, max_data)
        self.memory_size = at_least_one("memory_size", memory_size)
        if not 0 <= number("replay", replay) <= 1:
            raise ValueError(f"replay must be between 0 (dreams alone) and 1 (remembered states alone), got {replay}")
        self.replay = replay

    def estimate(self, programs: Programs) -> Estimate:
        """``log sum p(x, h)`` of the remembered states summed over the data, ``[restarts]``, in nats."""
        with torch.no_grad():
            drawn = programs.draw_from_guide(self.num_particles)
            draws = discrete_draws(drawn, self.num_particles, "MemoisedWakeSleep")
        # places that are still empty hold a draw that is there already, and a state counts once
        start = {name: value[:1].expand(self.memory_size, *value.shape[1:]) for name, value in draws.items()}
        kept, remember = self._recall(programs, drawn, start)
        states = {name: torch.cat([kept[name], value]) for name, value in draws.items()}
        particles = programs.score({**drawn.minibatch, **states})
        log_joint = particles.log_joint
        best = distinct_log_joint(log_joint.detach(), fingerprints(particles, states)).topk(self.memory_size, dim=0)
        remember({name: taken(value, best.indices) for name, value in states.items()})
        weight = torch.zeros_like(log_joint).scatter(0, best.indices, normalised_weights(best.values))
        surrogate = particles.sum_over_data((weight * (log_joint + self.replay * particles.log_guide)).sum(0))
        if self.replay < 1:
            sleep = programs.draw_from_model(self.num_particles)
            surrogate = surrogate + (1 - self.replay) * sleep.sum_over_data(sleep.log_guide.mean(0))
        return Estimate(particles.sum_over_data(best.values.logsumexp(0)), surrogate)


def distinct_log_joint(log_joint: Tensor, states: Tensor) -> Tensor:
    """``log p(x, h)``, minus infinity for a state that stands earlier among those of its datum.

    Args:
        log_joint: ``[states, restarts, data]``.
        states: numbers by which states are told apart, likewise.

    """
    same = states[:, None] == states
    earlier = torch.ones(same.shape[:2], dtype=torch.bool, device=states.device).tril(-1)
    return log_joint.masked_fill((same & earlier[..., None, None]).any(1), -torch.inf)
