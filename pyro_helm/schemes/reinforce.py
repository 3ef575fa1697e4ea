"""REINFORCE: gradient of the free energy by the score function, with a leave-one-out signal.

    -F            = mean_k [ log p(x, h_k) - log q(h_k | x) ],       h_k ~ q(h | x)
    signal_k      = f_k - mean_{j != k} f_j,                         f_k = log p(x, h_k) - log q(h_k | x)
    d(-F)/dphi    ~ mean_k signal_k d/dphi log q(h_k | x)
    d(-F)/dtheta  ~ mean_k d/dtheta log p(x, h_k)

The paper's stochastic machine (Dayan et al. 1995, equations 3.8 and 3.9); Williams 1992; the leave-one-out signal as
in Mnih & Rezende 2016 and Kool, van Hoof & Welling 2019.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyro_helm.particles import Particles, Program, draw_from_guide
from pyro_helm.schemes.scheme import Scheme, with_gradient_of


class Reinforce(Scheme):
    """Unbiased gradient of the free energy for model and guide.

    With two particles or more, each is judged against the mean of the others; one alone is judged by its own
    log-weight, which is unbiased but noisy. Reparameterised sites get their pathwise gradient instead.

    Args:
        num_particles: draws per datum and restart.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> Reinforce(num_particles=5).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "reinforce"

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """Free energy F summed over the data, ``[restarts]``, in nats."""
        particles = draw_from_guide(model, guide, self.num_particles, args, kwargs, pathwise=True)
        surrogate = particles.sum_over_data(surrogate_elbo(particles).mean(0))
        elbo = particles.sum_over_data(particles.log_weight.mean(0))
        return -with_gradient_of(elbo, surrogate)


def surrogate_elbo(particles: Particles) -> Tensor:
    """Tensor ``[particles, restarts, data]`` whose gradient, averaged over particles, estimates that of ``-F``."""
    surrogate = particles.log_joint
    signal, scored = leave_one_out(particles.log_weight.detach()), particles.scored
    for name, log_q in particles.log_q.items():
        # the entropy's own gradient, -d log q, has mean zero at a scored site: leaving it out only lowers the variance
        surrogate = surrogate + signal * log_q if name in scored else surrogate - log_q
    return surrogate


def leave_one_out(signal: Tensor) -> Tensor:
    """Each particle's signal less the mean of the others'; of a single particle, the signal itself."""
    num_particles = signal.shape[0]
    if num_particles == 1:
        return signal
    return (signal - signal.mean(0)) * (num_particles / (num_particles - 1))
