"""Reweighted wake-sleep: both halves learn from the guide's draws, weighted towards the posterior.

    w_k         = p(x, h_k) / q(h_k | x),  h_k ~ q(h | x);      v_k = w_k / sum_j w_j, for each datum by itself
    wake-theta: d/dtheta  log mean_k w_k  =  sum_k v_k d/dtheta log p(x, h_k)
    wake-phi:   d/dphi    sum_k v_k log q(h_k | x)              (v held fixed: lowers KL(posterior || q))
    sleep-phi:  d/dphi    mean_k log q(h_k | x_k),  (x_k, h_k) ~ p(x, h)

Bornschein & Bengio 2015; Le, Kosiorek, Siddharth, Teh & Wood 2019.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from pyro_helm.particles import Program, draw_from_guide, draw_from_model
from pyro_helm.schemes.scheme import Scheme, with_gradient_of


class ReweightedWakeSleep(Scheme):
    """Wake-theta for the model; for the guide ``insomnia`` x wake-phi + (1 - ``insomnia``) x sleep-phi.

    The weights are normalised over the particles of each datum, not of the whole batch as in Pyro's own class of this
    name. The value is the importance-weighted bound, ``log mean_k w_k``.

    Args:
        num_particles: draws per datum and restart; at least 2, since one particle's weight is always 1. The sleep
            phase dreams as many per datum.
        insomnia: share of wake-phi in the guide's gradient, from 0 (sleep-phi alone) to 1 (wake-phi alone).

    Raises:
        ValueError: for fewer than 2 particles or ``insomnia`` outside [0, 1].

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> ReweightedWakeSleep(num_particles=5).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "reweighted_wake_sleep"
    min_particles = 2

    def __init__(self, num_particles: int = 5, *, insomnia: float = 1.0) -> None:
        super().__init__(num_particles)
        if not 0 <= insomnia <= 1:
            raise ValueError(f"insomnia must be between 0 (sleep-phi alone) and 1 (wake-phi alone), got {insomnia}")
        self.insomnia = insomnia

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """Negative importance-weighted bound summed over the data, ``[restarts]``, in nats."""
        wake = draw_from_guide(model, guide, self.num_particles, args, kwargs)
        log_weight = wake.log_weight.detach()
        weight = log_weight.softmax(0)
        surrogate = wake.sum_over_data((weight * (wake.log_joint + self.insomnia * wake.log_guide)).sum(0))
        if self.insomnia < 1:
            sleep = draw_from_model(model, guide, self.num_particles, args, kwargs)
            surrogate = surrogate + (1 - self.insomnia) * sleep.sum_over_data(sleep.log_guide.mean(0))
        bound = wake.sum_over_data(log_weight.logsumexp(0) - math.log(self.num_particles))
        return -with_gradient_of(bound, surrogate)
