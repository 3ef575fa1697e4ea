"""The thermodynamic variational objective: the path from guide to posterior, integrated from below or above.

    log p(x) = integral_0^1 E_b[ log w ] db,       w = p(x, h) / q(h | x),     pi_b ~ q(h | x)^(1 - b) p(x, h)^b
    TVO      = sum_t (b_t - b_{t-1}) E_{b_{t-1}}[ log w ]         (b_t in place of b_{t-1}: an upper bound)
    d E_b[ log w ] = E_b[ d log w ] + Cov_b[ log w, d ((1 - b) log q + b log p) ]

Expectations and covariances under ``pi_b`` are taken with the particles of the guide, weighted by ``w^b`` and
normalised for each datum: exact at ``b = 0``, and elsewhere with a bias of order 1/K in K particles. A single interval
is the free energy. Every draw is followed by its score, reparameterised ones too.

Masrani, Le & Wood, The thermodynamic variational objective, 2019, equations 7 to 12.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch

from pyro_helm.programs.pair import Programs
from pyro_helm.runtime.arguments import at_least_one, flag, number, rising_to_one
from pyro_helm.schemes.base import Estimate, Scheme, normalised_weights

SPACINGS = ("log_uniform", "linear")


class TVO(Scheme):
    """The thermodynamic variational objective, followed by model and guide alike with the covariance gradient.

    Args:
        num_particles: draws per datum and restart; at least 2, for a covariance.
        partition: ``"log_uniform"``, ``"linear"``, or the points themselves, rising from 0 to 1.
        num_intervals: of a partition that is given by name.
        first: first point above 0 of the log-uniform one.
        upper: take the upper bound instead of the lower one.

    Raises:
        ValueError: for fewer than 2 particles, or no partition of [0, 1].

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> TVO(num_particles=5).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "tvo"
    min_particles = 2

    def __init__(
        self,
        num_particles: int = 5,
        *,
        partition: str | Sequence[float] = "log_uniform",
        num_intervals: int = 5,
        first: float = 0.1,
        upper: bool = False,
    ) -> None:
        super().__init__(num_particles)
        self.points = points_of(partition, num_intervals, first)
        # as they were given, which the points do not tell
        self.partition = partition if isinstance(partition, str) else self.points
        self.num_intervals, self.first = num_intervals, first
        self.upper = flag("upper", upper)

    def estimate(self, programs: Programs) -> Estimate:
        """The thermodynamic objective summed over the data, ``[restarts]``, in nats."""
        particles = programs.draw_from_guide(self.num_particles)
        log_p, log_q = particles.log_joint, particles.log_guide
        log_weight = (log_p - log_q).detach()
        of_p, of_q, value = (torch.zeros_like(log_weight) for _ in range(3))
        correction = self.num_particles / (self.num_particles - 1)
        impossible = log_weight == -torch.inf
        finite = log_weight.masked_fill(impossible, 0.0)
        for low, high in pairwise(self.points):
            beta = high if self.upper else low
            tilted = (beta * finite).masked_fill(impossible, -torch.inf) if beta > 0 else torch.zeros_like(finite)
            share = (high - low) * normalised_weights(tilted)
            centred = finite - (share * finite).sum(0) / (high - low)
            value += share * finite
            of_p += share * (1 + correction * beta * centred)
            # at 0, E[d log q] is zero and would only be noise
            of_q += share * (correction * (1 - beta) * centred - float(beta > 0))
        # the mean of log w under the guide is infinite where a draw is impossible, and has no gradient
        infinite = impossible.all(0) if self.upper else impossible.any(0)
        of_p, of_q = (factor.masked_fill(infinite, 0.0) for factor in (of_p, of_q))
        surrogate = particles.sum_over_data((of_p * log_p + of_q * log_q).sum(0))
        bound = particles.sum_over_data(value.sum(0).masked_fill(infinite, -torch.inf))
        return Estimate(bound, surrogate)


def points_of(partition: str | Sequence[float], num_intervals: int, first: float) -> list[float]:
    """Points of a partition of [0, 1], both ends included.

    >>> points_of("linear", 4, first=0.1)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> [round(point, 3) for point in points_of("log_uniform", 3, first=0.01)]
    [0.0, 0.01, 0.1, 1.0]
    """
    if not isinstance(partition, str):
        if not isinstance(partition, Iterable):
            raise TypeError(f"partition must be {' or '.join(SPACINGS)}, or points from 0 to 1; got {partition!r}")
        return rising_to_one("partition", partition, of_each="a point of the partition")
    if partition not in SPACINGS:
        raise ValueError(f"partition must be {' or '.join(SPACINGS)}, or points from 0 to 1; got {partition!r}")
    num_intervals = at_least_one("num_intervals", num_intervals)
    if not 0 < number("first", first) < 1:
        raise ValueError(f"first must be between 0 and 1, got {first}")
    if partition == "linear":
        return [place / num_intervals for place in range(num_intervals + 1)]
    above = [first ** (1 - place / max(1, num_intervals - 1)) for place in range(num_intervals - 1)]
    return [0.0, *above, 1.0]
