"""Reweighted wake-sleep: both halves learn from the guide's draws, weighted towards the posterior.

    w_k         = p(x, h_k) / q(h_k | x),  h_k ~ q(h | x);      v_k = w_k / sum_j w_j, for each datum by itself
    wake-theta: d/dtheta  log mean_k w_k  =  sum_k v_k d/dtheta log p(x, h_k)
    wake-phi:   d/dphi    sum_k v_k log q(h_k | x)              (v held fixed: lowers KL(posterior || q))
    sleep-phi:  d/dphi    mean_k log q(h_k | x_k),  (x_k, h_k) ~ p(x, h)

With a defensive mixture the draws come from ``(1 - a) q(h | x) + a u(h)``, u uniform over the states, and the weights
are formed with its density: what the guide has given up on is still proposed now and then.

Bornschein & Bengio, Reweighted wake-sleep, 2015; Le, Kosiorek, Siddharth, Teh & Wood, Revisiting reweighted wake-sleep
for models with stochastic control flow, 2019, from which the defensive mixture is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_helm.programs.contract import Site
from pyro_helm.programs.discrete import elementwise, num_values, uniform_log_prob
from pyro_helm.programs.pair import Programs
from pyro_helm.programs.particles import Particles
from pyro_helm.programs.recorder import draw_each
from pyro_helm.programs.site_log_prob import log_prob
from pyro_helm.runtime.arguments import number
from pyro_helm.schemes.base import Estimate, Scheme, normalised_weights


class ReweightedWakeSleep(Scheme):
    """Wake-theta for the model; for the guide ``insomnia`` x wake-phi + (1 - ``insomnia``) x sleep-phi.

    The weights are normalised over the particles of each datum, not of the whole batch as in Pyro's own class of this
    name. The value is the importance-weighted bound, ``log mean_k w_k``. Draws are constants, reparameterised ones too.

    Args:
        num_particles: draws per datum and restart; at least 2, since one particle's weight is always 1. The sleep
            phase dreams as many per datum.
        insomnia: share of wake-phi in the guide's gradient, from 0 (sleep-phi alone) to 1 (wake-phi alone).
        defensive: share of uniform draws among those from the guide, from 0 to below 1.

    Raises:
        ValueError: for fewer than 2 particles or a share out of range; in use, for uniform draws of a site that is
            neither Bernoulli nor Categorical.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> ReweightedWakeSleep(num_particles=5).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "reweighted_wake_sleep"
    min_particles = 2

    def __init__(self, num_particles: int = 5, *, insomnia: float = 1.0, defensive: float = 0.0) -> None:
        super().__init__(num_particles)
        if not 0 <= number("insomnia", insomnia) <= 1:
            raise ValueError(f"insomnia must be between 0 (sleep-phi alone) and 1 (wake-phi alone), got {insomnia}")
        if not 0 <= number("defensive", defensive) < 1:
            raise ValueError(f"defensive must be from 0 (the guide alone) to below 1, got {defensive}")
        self.insomnia = insomnia
        self.defensive = defensive

    def estimate(self, programs: Programs) -> Estimate:
        """The importance-weighted bound summed over the data, ``[restarts]``, in nats."""
        mixture = _DefensiveMixture(self.defensive) if self.defensive else None
        wake = programs.draw_from_guide(self.num_particles, draw=mixture)
        log_joint, log_guide = wake.log_joint, wake.log_guide
        log_weight = (log_joint - (log_guide if mixture is None else mixture.log_prob(wake))).detach()
        weight = normalised_weights(log_weight)
        learned = log_joint + (log_guide if self.insomnia == 1 else self.insomnia * log_guide)
        surrogate = wake.sum_over_data((weight * learned).sum(0))
        if self.insomnia < 1:
            sleep = programs.draw_from_model(self.num_particles)
            surrogate = surrogate + (1 - self.insomnia) * sleep.sum_over_data(sleep.log_guide.mean(0))
        bound = wake.sum_over_data(log_weight.logsumexp(0) - math.log(self.num_particles))
        return Estimate(bound, surrogate)


class _DefensiveMixture:
    """Draws of the guide, or with a small probability for all sites of a particle together, uniform ones."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.is_uniform: Tensor | None = None

    def __call__(self, site: Site, num_particles: int) -> Tensor:
        count = num_values(site["fn"])
        if count is None:
            raise ValueError(
                f"site {site['name']!r} of the guide is a {type(elementwise(site['fn'])).__name__}, which has no "
                "uniform distribution over finitely many values for a defensive mixture; use defensive=0"
            )
        value = draw_each(site["fn"], num_particles)
        event_dim = site["fn"].event_dim
        batch = value.shape[: value.dim() - event_dim]
        # a second data plate is refused in words once the sites are known
        if self.is_uniform is None or self.is_uniform.shape[-1] not in (1, batch[-1]):
            self.is_uniform = torch.rand(batch, device=value.device) < self.share
        uniform = torch.randint(count, value.shape, device=value.device).to(value)
        return torch.where(self.is_uniform.reshape(self.is_uniform.shape + (1,) * event_dim), uniform, value)

    def log_prob(self, particles: Particles) -> Tensor:
        """Log-probability of draws under the mixture, ``[particles, restarts, data]``."""
        log_guide = particles.log_guide
        # of the sites as they are after the run: a handler around the scheme sets its mask after the draw
        log_uniform = log_guide.new_zeros(())
        for site in particles.guide_sites.values():
            log_uniform = log_uniform + log_prob(site, uniform_log_prob).to(log_guide)
        return torch.logaddexp(math.log1p(-self.share) + log_guide, math.log(self.share) + log_uniform)
