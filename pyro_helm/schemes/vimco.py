"""VIMCO: the importance-weighted bound, followed by model and guide alike, with leave-one-out signals.

    L           = log mean_k w_k,    w_k = p(x, h_k) / q(h_k | x),   h_k ~ q(h | x)
    L without k = L with log w_k replaced by the mean of the other log-weights
    dL/dphi     ~ sum_k (L - L without k) d/dphi log q(h_k | x)  +  sum_k v_k d/dphi log w_k,     v_k = w_k / sum_j w_j
    dL/dtheta   ~ sum_k v_k d/dtheta log p(x, h_k)

Mnih & Rezende, Variational Inference for Monte Carlo Objectives, 2016, equations 7 to 11.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_helm.programs.pair import Programs
from pyro_helm.schemes.base import Estimate, Scheme, normalised_weights


class VIMCO(Scheme):
    """Unbiased gradient of the importance-weighted bound, with the part that each particle adds as its signal.

    Memory for the signals grows with the square of the particles.
    Reparameterised sites get their pathwise gradient instead of a signal.

    Args:
        num_particles: draws per datum and restart; at least 2, since each is compared with the others.

    Raises:
        ValueError: for fewer than 2 particles.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> VIMCO(num_particles=5).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "vimco"
    min_particles = 2

    def __init__(self, num_particles: int = 5) -> None:
        super().__init__(num_particles)

    def estimate(self, programs: Programs) -> Estimate:
        """The importance-weighted bound summed over the data, ``[restarts]``, in nats."""
        particles = programs.draw_from_guide(self.num_particles, pathwise=True)
        log_weight = particles.log_weight.detach()
        surrogate = normalised_weights(log_weight) * particles.log_weight
        signal = signals_of_bound(log_weight)
        for name in particles.scored:
            surrogate = surrogate + signal * particles.log_q[name]
        bound = particles.sum_over_data(log_weight.logsumexp(0) - math.log(self.num_particles))
        return Estimate(bound, particles.sum_over_data(surrogate.sum(0)))


def signals_of_bound(log_weight: Tensor) -> Tensor:
    """What each particle adds to ``log sum_k w_k``, ``[particles, ...]``, in nats.

    Where all others are impossible there is nothing to compare with, and the signal is the bound itself; where all are
    impossible, the bound is minus infinity and there is no signal.
    """
    impossible = log_weight == -torch.inf
    finite = log_weight.masked_fill(impossible, 0.0)
    mean = (finite.sum(0) - finite) / (len(log_weight) - 1)
    # the geometric mean of weights of which one is zero is zero
    mean = mean.masked_fill(impossible.sum(0) - impossible.long() > 0, -torch.inf)
    bound, without = log_weight.logsumexp(0), logsumexp_replacing_each(log_weight, mean)
    alone = math.log(len(log_weight))
    signal = bound - torch.where(without == -torch.inf, alone, without)
    return signal.masked_fill(bound == -torch.inf, 0.0)


def logsumexp_replacing_each(log_weight: Tensor, by: Tensor) -> Tensor:
    """``logsumexp`` over particles with each in turn replaced by another's log-weight, ``[particles, ...]``."""
    num_particles = len(log_weight)
    # [replaced, particles, ...]: the diagonal is what stands in for the particle
    replaced = log_weight.expand(num_particles, *log_weight.shape).clone()
    replaced.diagonal().copy_(by.movedim(0, -1))
    return replaced.logsumexp(1)
