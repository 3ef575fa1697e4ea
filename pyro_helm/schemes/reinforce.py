"""REINFORCE: gradient of the free energy by the score function, Rao-Blackwellised, with a leave-one-out signal.

    -F            = mean_k [ log p(x, h_k) - log q(h_k | x) ],       h_k ~ q(h | x)
    f_k^s         = the terms of log p(x, h_k) - log q(h_k | x) that the draws of site s may influence
    g_k^s         = f_k^s + b^s (all other terms),       b^s from 0 to 1
    signal_k^s    = g_k^s - mean_{j != k} g_j^s         (f^s alone where there is a single particle)
    d(-F)/dphi    ~ mean_k sum_s signal_k^s d/dphi log q(h_k^s | x)
    d(-F)/dtheta  ~ mean_k d/dtheta log p(x, h_k)

Of any programs but the library's own pair, f^s is all terms. Where some are left out, they are a control variate: as
the guide gets better, log-weights vary less than their parts, so that particles are better compared by more than the
parts. ``b`` is the regression coefficient that fits the other data's particles, which leaves the gradient unbiased.

The paper's stochastic machine (Dayan et al. 1995, equations 3.8 and 3.9); Williams 1992; the leave-one-out signal as
in Mnih & Rezende 2016 and Kool, van Hoof & Welling 2019; which terms: :mod:`pyro_helm.schemes.learning_signals`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pyro_helm.programs.pair import Programs
from pyro_helm.programs.particles import Particles
from pyro_helm.schemes.base import Estimate, Scheme
from pyro_helm.schemes.learning_signals import dependencies, signals, without_impossible


class Reinforce(Scheme):
    """Unbiased gradient of the free energy for model and guide.

    With two particles or more, the baseline of each is the mean of the others; one alone has no baseline, which is
    unbiased but noisy. Reparameterised sites get their pathwise gradient instead.

    Args:
        num_particles: draws per datum and restart.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> Reinforce(num_particles=5).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "reinforce"

    def estimate(self, programs: Programs) -> Estimate:
        """Minus the free energy F, summed over the data, ``[restarts]``, in nats."""
        particles = programs.draw_from_guide(self.num_particles, pathwise=True, shared=True)
        known = dependencies(particles, programs)
        bound = particles.elbo.mean(0)
        particles = without_impossible(particles, known)
        judged = signals(particles, known)
        if known.declared and particles.is_of_one_scale:
            whole = particles.scale * particles.log_weight.detach()
            judged = {site: with_control_variate(signal, whole - signal) for site, signal in judged.items()}
        surrogate = surrogate_elbo(particles, {site: leave_one_out(signal) for site, signal in judged.items()})
        return Estimate(bound, surrogate.mean(0))


def surrogate_elbo(particles: Particles, signal: Mapping[str, Tensor]) -> Tensor:
    """Tensor ``[particles, restarts]`` whose gradient, averaged over particles, estimates that of ``-F``.

    Args:
        particles: drawn with ``pathwise=True``.
        signal: of each scored site, ``[particles, restarts, data]``, with its scale in it.

    """
    # the entropy's own gradient, -d log q, has mean zero at a scored site: leaving it out only lowers the variance
    followed = {name: log_q for name, log_q in particles.log_q.items() if name not in signal}
    surrogate = particles.total(particles.log_p) - particles.total(followed)
    for site, value in signal.items():
        surrogate = surrogate + (value * particles.log_q[site]).sum(-1)
    return surrogate


def leave_one_out(signal: Tensor) -> Tensor:
    """Signals ``[particles, ...]``, each less the mean of the others'; of a single particle, the signal itself."""
    num_particles = signal.shape[0]
    if num_particles == 1:
        return signal
    return (signal - signal.mean(0)) * (num_particles / (num_particles - 1))


def with_control_variate(signal: Tensor, others: Tensor) -> Tensor:
    """The signal with the share of the other terms that makes particles of one datum most alike.

    Args:
        signal: ``[particles, restarts, data]``.
        others: terms that the site can't influence, likewise.

    """
    ours, theirs = signal - signal.mean(0), others - others.mean(0)
    product, square = (ours * theirs).sum(0), theirs.square().sum(0)
    # of all other data, since a coefficient that depends on the draws it is used for would be a bias
    product, square = product.sum(-1, keepdim=True) - product, square.sum(-1, keepdim=True) - square
    share = torch.where(square > 0, -product / square, 0.0).clamp(0, 1)
    return signal + share * others
