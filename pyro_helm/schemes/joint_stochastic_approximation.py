"""Joint stochastic approximation: posterior chains whose moves the guide proposes.

    h' ~ q(h | x),    h <- h' with probability min(1, w(h') / w(h)),    w(h) = p(x, h) / q(h | x)
    d/dtheta  mean over the moves of  log p(x, h)
    d/dphi    mean over the moves of  log q(h | x)                           (lowers KL(posterior || q))

A chain goes on where it was when its datum comes again. The posterior is the stationary distribution of its moves,
whatever the guide, so that the gradient for the model is that of ``log p(x)`` once chains have converged, where the
weights of a few particles alone would be biased. A poor guide makes chains that hardly move. The value is the
importance-weighted bound of the proposals, ``log mean_k w_k``.

Ou & Song, Joint stochastic approximation and its application to learning discrete latent variable models, 2020; the
moves are the independence sampler of Metropolis and Hastings.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_helm.programs.pair import Programs
from pyro_helm.schemes.base import Estimate
from pyro_helm.schemes.states_of_data import KeepsStates, discrete_draws, taken


class JointStochasticApproximation(KeepsStates):
    """Gradient of ``log p(x)`` for the model, and of ``KL(posterior || q)`` for the guide, by one chain per datum.

    For Bernoulli, Categorical and one-hot sites of any program. Data are known again as by :class:`Gibbs`. A new chain
    begins with a draw from the guide.

    Args:
        num_particles: proposals per datum and restart in every step, each a move of the chain.
        max_data: data whose chains are kept. Of more, those that were used longest ago are dropped with a warning.

    Raises:
        ValueError: for settings out of range; in use, for more data at once than ``max_data``; in training, for
            programs that are made anew at every step.
        TypeError: in use, for latent sites of another kind.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> JointStochasticApproximation(num_particles=5).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "joint_stochastic_approximation"

    def __init__(self, num_particles: int = 1, *, max_data: int = 100_000) -> None:
        super().__init__(num_particles, max_data)

    def estimate(self, programs: Programs) -> Estimate:
        """Importance-weighted bound of the proposals summed over the data, ``[restarts]``, in nats."""
        count = self.num_particles + 1
        with torch.no_grad():
            drawn = programs.draw_from_guide(count)
            draws = discrete_draws(drawn, count, "JointStochasticApproximation")
        start = {name: value[:1] for name, value in draws.items()}
        kept, remember = self._recall(programs, drawn, start)
        states = {name: torch.cat([kept[name], value[1:]]) for name, value in draws.items()}
        particles = programs.score({**drawn.minibatch, **states})
        log_weight = particles.log_weight.detach()
        stood = independence_moves(log_weight)
        remember({name: taken(value, stood[-1:]) for name, value in states.items()})
        share = torch.zeros_like(log_weight).scatter_add(0, stood, torch.ones_like(log_weight)) / len(stood)
        surrogate = (share * (particles.log_joint + particles.log_guide)).sum(0)
        bound = log_weight[1:].logsumexp(0) - math.log(self.num_particles)
        return Estimate(particles.sum_over_data(bound), particles.sum_over_data(surrogate))


def independence_moves(log_weight: Tensor) -> Tensor:
    """Where chains stand after each move, as an index of the states, ``[moves, restarts, data]``.

    Args:
        log_weight: of the states where the chains begin, and of those that are proposed, ``[1 + moves, ...]``.

    """
    # as one unit of each datum
    threshold = torch.rand_like(log_weight[1:, ..., None]).squeeze(-1).log()
    stands = torch.zeros_like(log_weight[:1], dtype=torch.long)
    visited = []
    for proposed in range(1, len(log_weight)):
        accepted = threshold[proposed - 1] < log_weight[proposed] - log_weight.gather(0, stands)
        stands = torch.where(accepted, proposed, stands)
        visited.append(stands)
    return torch.cat(visited)
