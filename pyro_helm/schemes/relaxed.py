"""Concrete relaxation: Bernoulli draws replaced by differentiable ones. Biased; the baseline that everyone knows.

    s = sigmoid((a + log u - log(1 - u)) / T),     u ~ Uniform(0, 1),    a the logits of q
    straight through:  h = 1[s > 1/2] forwards, with the gradient of s backwards
    continuous:        h = s
    -F ~ mean_k [ log p(x, h_k) - log q(h_k | x) ],    log p(h) = h log p + (1 - h) log(1 - p)

The gradient goes through the draws. Straight through, draws and value are those of the Bernoulli guide, and the
gradient for theta is unbiased; that for phi is biased at every temperature T, also in the limit of 0. With continuous
draws both are biased, and the value is no bound on ``log p(x)``; these tend to the exact ones as T falls to 0, while
the variance grows without limit.

Maddison, Mnih & Teh, The concrete distribution, 2017; Jang, Gu & Poole, Categorical reparameterization with
Gumbel-softmax, 2017; straight through: Bengio, Leonard & Courville 2013.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, OneHotCategorical

from pyro_helm.layers.distributions import DrivenBernoulli
from pyro_helm.programs.contract import Site
from pyro_helm.programs.discrete import elementwise, elementwise_log_prob
from pyro_helm.programs.pair import Programs
from pyro_helm.programs.recorder import draw_each
from pyro_helm.programs.site_log_prob import log_prob
from pyro_helm.programs.unclamped import log_probs, share_of_log_prob, unclamped_log_prob
from pyro_helm.runtime.arguments import flag, number
from pyro_helm.runtime.one_hot_codes import one_hot
from pyro_helm.schemes.base import Estimate, Scheme


class Relaxed(Scheme):
    """Gradient of the free energy through relaxed draws of Bernoulli and OneHotCategorical sites; biased.

    Where a program takes a draw for an index or compares it, no gradient passes, and the bias is larger.

    Args:
        num_particles: draws per datum and restart.
        temperature: T; the lower, the more variance, and with continuous draws the less bias.
        straight_through: draw zeros and ones, and let only the gradient be relaxed.

    Raises:
        ValueError: for a temperature that is not positive; in use, for a site of the guide that is neither Bernoulli,
            OneHotCategorical nor reparameterised.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> Relaxed(num_particles=5).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "relaxed"

    def __init__(self, num_particles: int = 1, *, temperature: float = 0.5, straight_through: bool = True) -> None:
        super().__init__(num_particles)
        if not number("temperature", temperature) > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature
        self.straight_through = flag("straight_through", straight_through)

    def estimate(self, programs: Programs) -> Estimate:
        """Minus the free energy F of the draws, summed over the data, ``[restarts]``, in nats."""
        particles = programs.draw_from_guide(
            self.num_particles, pathwise=True, shared=True, draw=self._draw, relaxed=True
        )
        log_p, log_q = (
            {name: log_prob(site, _linear) for name, site in sites.items()}
            for sites in (particles.model_sites, particles.guide_sites)
        )
        return Estimate((particles.total(log_p) - particles.total(log_q)).mean(0))

    def _draw(self, site: Site, num_particles: int) -> Tensor:
        fn, single = site["fn"], elementwise(site["fn"])
        if fn.has_rsample:
            return draw_each(fn, num_particles)
        shape = (num_particles, *(1, 1, *fn.batch_shape)[-2:], *fn.event_shape)
        if isinstance(single, Bernoulli):
            uniform = torch.rand(shape, dtype=single.logits.dtype, device=single.logits.device)
            drive = single.logits + torch.logit(uniform, eps=torch.finfo(uniform.dtype).eps)
            soft = torch.sigmoid(drive / self.temperature)
            hard = (drive > 0).to(soft)
        elif isinstance(single, OneHotCategorical):
            noise = -torch.empty(shape, dtype=single.logits.dtype, device=single.logits.device).exponential_().log()
            drive = single.logits + noise
            soft = (drive / self.temperature).softmax(-1)
            hard = one_hot(drive.argmax(-1), drive.shape[-1]).to(soft)
        else:
            raise ValueError(
                f"site {site['name']!r} of the guide is a {type(single).__name__}, which can't be relaxed; make it "
                "Bernoulli or OneHotCategorical, or use a scheme such as Reinforce or VIMCO"
            )
        return hard + (soft - soft.detach()) if self.straight_through else soft


def _linear(fn: Any, value: Tensor) -> Tensor:
    """Log-probability of a value between those that a Bernoulli or OneHotCategorical has, on the line between them."""
    return elementwise_log_prob(fn, value, _on_the_line)


def _on_the_line(single: Any, value: Tensor) -> Tensor:
    if isinstance(single, DrivenBernoulli):
        on_the_line: Tensor = value * single.logits + single.log_prob(value.new_zeros(()))
    elif isinstance(single, Bernoulli):
        on, off = (unclamped_log_prob(single, value.new_full((), end)) for end in (1.0, 0.0))
        on_the_line = share_of_log_prob(value, on) + share_of_log_prob(1 - value, off)
    elif isinstance(single, OneHotCategorical):
        # of the probabilities that were given, if they were
        on_the_line = share_of_log_prob(value, log_probs(single)).sum(-1)
    else:
        on_the_line = unclamped_log_prob(single, value)
    return on_the_line
