"""Exact EM: the posterior by enumeration, a generalised M-step by gradient; the line Q = P of the paper's Fig. 2.

    E:  p(h | x) for every joint state h of the latent sites
    M:  d/dtheta  sum_h p(h | x) log p(x, h)  =  d/dtheta log p(x)
        d/dphi    sum_h p(h | x) log q(h | x)                  (lowers KL(posterior || q); left out without a guide)

There is no sampling noise and no bound: the value is ``-log p(x)`` itself.

Dempster, Laird & Rubin 1977; Neal & Hinton, A view of the EM algorithm that justifies incremental, sparse, and other
variants, 1998; Dayan, Hinton, Neal & Zemel 1995, section 2 and Fig. 2.
"""

from __future__ import annotations

import math

import torch

from pyro_helm.latents.joint_states import all_joint_states, discrete_sites, num_states, placed, to_be_summed
from pyro_helm.programs.contract import check_observes
from pyro_helm.programs.pair import Programs
from pyro_helm.programs.particles import score
from pyro_helm.runtime.arguments import at_least_one
from pyro_helm.runtime.captured_graphs import drawn_aside
from pyro_helm.runtime.device import placement
from pyro_helm.schemes.base import Estimate, Intractable, Scheme, normalised_weights


class ExactEM(Scheme):
    """Exact gradient of ``log p(x)`` for the model; the guide, if there is one, follows the exact posterior.

    Every step scores each joint state of the Bernoulli and Categorical sites with each datum: 2^units x data x restarts
    terms, held in memory with their gradients.

    Args:
        max_terms: refuse a step of more terms.

    Raises:
        Intractable: in use, for more terms than ``max_terms``, with their number.
        TypeError: in use, for latent sites that are neither Bernoulli nor Categorical.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> loss = ExactEM().loss(model, None, observations={"x": x})
    >>> abs(loss + 10 * log_likelihood(model, None, x, method="exact").summary.log_likelihood.item()) < 1e-3
    True
    """

    name = "exact_em"
    samples = False
    needs_guide = False

    def __init__(self, *, max_terms: int = 2**21) -> None:
        super().__init__()
        self.max_terms = at_least_one("max_terms", max_terms)

    def estimate(self, programs: Programs) -> Estimate:
        """``log p(x)`` summed over the data, ``[restarts]``, in nats."""
        model, args, kwargs = programs.model, programs.args, programs.kwargs
        # looking at the sites draws from them, which must not show in a scheme without noise
        with torch.no_grad(), drawn_aside(0, placement(model)["device"]):
            sites = discrete_sites(model, kwargs, args, remedy="use a scheme that samples, such as Reinforce or VIMCO")
            count = num_states(sites)
            # of a single state, to learn how many data and restarts there are
            one = placed(sites, next(all_joint_states(sites, 1, sites[0].device)))
            terms = count * score(model, one, args, kwargs).log_joint.numel()
        if terms > self.max_terms:
            raise Intractable(
                f"exact EM would sum over {count:,} joint states for each datum and restart, 2^{math.log2(terms):.1f} "
                f"terms a step, more than max_terms (2^{math.log2(self.max_terms):.1f}); use fewer hidden units, "
                "smaller minibatches or fewer restarts, or a scheme that samples"
            )
        (states,) = all_joint_states(sites, count, sites[0].device)
        values = placed(sites, states)
        particles = programs.score(values)
        if programs.guide is None:
            check_observes(particles.model_sites)
        else:
            for name in particles.guide_sites.keys() - values.keys():
                raise ValueError(f"site {name!r} of the guide is auxiliary, so that log q(h | x) is not known; drop it")
        log_joint = to_be_summed(particles, sites)
        log_p = particles.sum_over_data(log_joint.detach().logsumexp(0))
        # d log p(x) = sum_h p(h | x) d log p(x, h), which is finite where states are impossible
        learned = log_joint if programs.guide is None else log_joint + particles.log_guide
        surrogate = particles.sum_over_data((normalised_weights(log_joint.detach()) * learned).sum(0))
        return Estimate(log_p, surrogate)
