"""DisARM: Bernoulli draws paired with antithetic partners, layer by layer through the hierarchy.

    b = 1[u < p],   b' = 1[1 - u < p],   p = sigmoid(a),   u ~ Uniform(0, 1)
    d/da_i E[f(b)]  ~  (f(b) - f(b')) / 2  (-1)^{b'_i} 1[b_i != b'_i] sigmoid(|a_i|)

For a layer of a hierarchy, f is what it can influence, with the layers above drawn anew from the partner and those
below kept; each layer so takes one more pass.

In the multi-sample form, which follows ``L = log mean_k w_k``, f is ``L - v_k`` with ``v_k = w_k / sum_j w_j``, as a
function of one particle, all others kept: ``v_k`` stands for the gradient of the guide's own part of the bound,
``-v_k d log q(h_k)``, a score function too. Taken together the two mostly cancel.

Dong, Mnih & Tucker, DisARM: an antithetic gradient estimator for binary latent variables, 2020, equations 5 to 7 and
section 3.2; Yin, Ho, Yan, Qian & Zhou, Probabilistic best subset selection by gradient-based optimization (U2G), 2020.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Bernoulli

from pyro_helm.programs.contract import Site
from pyro_helm.programs.discrete import elementwise
from pyro_helm.programs.pair import Programs
from pyro_helm.programs.particles import Particles
from pyro_helm.runtime.arguments import flag
from pyro_helm.schemes.base import Estimate, Scheme, normalised_weights
from pyro_helm.schemes.learning_signals import (
    Dependencies,
    dependencies,
    impossible_data,
    signals,
    without,
    without_impossible,
)
from pyro_helm.schemes.vimco import logsumexp_replacing_each


class DisARM(Scheme):
    """Unbiased gradient of the free energy, or of the importance-weighted bound, for Bernoulli guides.

    A step takes one more forward pass for each site of the guide. Reparameterised sites get their pathwise gradient
    instead.

    Args:
        num_particles: draws per datum and restart, each with a partner for every site.
        multi_sample: follow the importance-weighted bound of the particles instead of the free energy.

    Raises:
        ValueError: in use, for a site of the guide that is neither Bernoulli nor reparameterised.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> DisARM(num_particles=5).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "disarm"

    def __init__(self, num_particles: int = 1, *, multi_sample: bool = False) -> None:
        super().__init__(num_particles)
        self.multi_sample = flag("multi_sample", multi_sample)

    def estimate(self, programs: Programs) -> Estimate:
        """Minus the free energy F, or the importance-weighted bound, summed over the data, ``[restarts]``, in nats."""
        shared = not self.multi_sample
        particles = programs.draw_from_guide(self.num_particles, pathwise=True, shared=shared)
        known = dependencies(particles, programs)
        bound, surrogate = self._without_scores(particles, known)
        for name in particles.scored:
            if particles.guide_sites[name]["fn"].has_rsample:
                continue  # without gradients, or with nothing to learn, it is not followed at all
            partner, factor = antithetic(particles.guide_sites[name])
            reached = known.influenced_by(name)
            kept = {other: site["value"] for other, site in particles.guide_sites.items() if other not in reached}
            values = {**particles.minibatch, **kept, name: partner}
            with torch.no_grad():
                others = programs.draw_from_guide(self.num_particles, shared=shared, values=values)
                if self.multi_sample:
                    difference = particles.scale * _difference_of_bounds(particles.log_weight, others.log_weight)
                else:
                    difference = _difference_of_signals(particles, others, programs, name) / self.num_particles
            surrogate = surrogate + (difference / 2 * factor).sum((0, -1))
        return Estimate(bound, surrogate)

    def _without_scores(self, particles: Particles, known: Dependencies) -> tuple[Tensor, Tensor]:
        """The bound, and what has its gradient but for the draws of the sites that are scored, ``[restarts]``."""
        possible = particles if self.multi_sample else without_impossible(particles, known)
        pathwise = {name: log_q for name, log_q in possible.log_q.items() if name not in particles.scored}
        if not self.multi_sample:
            return particles.elbo.mean(0), (possible.total(possible.log_p) - possible.total(pathwise)).mean(0)
        log_weight = particles.log_weight.detach()
        bound = particles.sum_over_data(log_weight.logsumexp(0) - math.log(self.num_particles))
        share = normalised_weights(log_weight)
        of_p, of_q = (
            particles.total({name: share * log_prob for name, log_prob in log_probs.items()})
            for log_probs in (particles.log_p, pathwise)
        )
        return bound, (of_p - of_q).sum(0)


def _difference_of_signals(particles: Particles, others: Particles, programs: Programs, site: str) -> Tensor:
    """A site's signal less its partner's, ``[particles, restarts, data]``; 0 for data that either finds impossible."""
    known, of_others = dependencies(particles, programs), dependencies(others, programs)
    if not known.declared:
        impossible = impossible_data(particles), impossible_data(others)
        particles, others = without(particles, *impossible), without(others, *impossible)
    return signals(particles, known, site)[site] - signals(others, of_others, site)[site]


def _difference_of_bounds(log_weight: Tensor, log_partner: Tensor) -> Tensor:
    """``L - v_k`` less what it is with the partner in the place of particle k, ``[particles, restarts, data]``."""
    log_partner = log_partner.expand_as(log_weight)
    replaced = logsumexp_replacing_each(log_weight, log_partner)
    own = log_weight.logsumexp(0) - log_weight.softmax(0)
    # where one of the two bounds is minus infinity they can't be compared
    return (own - (replaced - (log_partner - replaced).exp())).nan_to_num(0.0, 0.0, 0.0)


def antithetic(site: Site) -> tuple[Tensor, Tensor]:
    """The partner of each draw of a Bernoulli site, and what the difference of the two is multiplied by.

    The second is ``sum_i (-1)^{b'_i} 1[b_i != b'_i] sigmoid(|a_i|) a_i``, ``[particles, restarts, data]``, of which the
    gradient is the estimator's.
    """
    fn, value = elementwise(site["fn"]), site["value"]
    if not isinstance(fn, Bernoulli):
        raise ValueError(
            f"site {site['name']!r} of the guide is a {type(fn).__name__}, but DisARM makes antithetic partners of "
            "Bernoulli draws; use Reinforce, NVIL or VIMCO"
        )
    logits = fn.logits.expand(value.shape) if fn.logits.dim() <= value.dim() else fn.logits
    with torch.no_grad():
        probs = torch.sigmoid(logits)
        uniform = torch.rand_like(probs)
        # the uniform number that the draw came from, given the draw
        uniform = torch.where(value == 1, probs * uniform, probs + (1 - probs) * uniform)
        partner = (1 - uniform < probs).to(value)
        weight = antithetic_weight(value, partner, logits)
        if isinstance(site["mask"], Tensor):
            weight = weight * site["mask"].reshape(site["mask"].shape + (1,) * site["fn"].event_dim)
    product = weight * logits
    return partner, product.sum(tuple(range(-site["fn"].event_dim, 0))) if site["fn"].event_dim else product


def antithetic_weight(value: Tensor, partner: Tensor, logits: Tensor) -> Tensor:
    """Factor of half the difference of a draw and its partner, for each logit's gradient (5); all ``[..., units]``."""
    return torch.where(partner == value, 0.0, (1 - 2 * partner) * torch.sigmoid(logits.abs()))
