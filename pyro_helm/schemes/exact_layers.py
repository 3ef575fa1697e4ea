"""The paper's stochastic F with each layer's expectation taken exactly, given the draw of the layer below.

    F = -E[ t_0(x) + sum_l t_l(h_l) ],     h_l ~ q(h_l | h_(l-1)),     h_0 = x,     l = 1 ... L-1
    t_l(h_l) = E[log p(h_l | h_(l+1)) | h_l] - E[log q(h_(l+1) | h_l) | h_l]     (and E[log p(h_L) | h_(L-1)] on top)

Given the draw below, the units of a layer are independent, so that these are the expectations of
:class:`ExactMeanField`: a sum over states, or a quadrature. The top layer is never drawn, and how well ``h_1`` explains
the data has no noise. The bound is that of the recognition network itself, with the correlations within a layer that a
mean field drops. What is drawn is followed by antithetic pairs as in :class:`DisARM`:

    d/dphi  = d t_(l-1)/dphi + 1/2 (sum_(m>=l) t_m - t'_m) (-1)^{b'_i} 1[b_i != b'_i] sigmoid(|a_i|) d a_i/dphi

where ``t'`` is of the partner and of layers drawn anew above it; these are draws of the network as well, and value and
gradients are averaged over them.

The end of appendix B of Dayan, Hinton, Neal & Zemel 1995 says that other imaging models make it possible to take the
mean of the log; that A.2 does so too is ours. Dong, Mnih & Tucker, DisARM, 2020, for the pairs.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Bernoulli
from torch import Tensor

from pyro_helm.layers import Imaging, LogProbs
from pyro_helm.programs.pair import Programs
from pyro_helm.schemes.base import Estimate, Scheme
from pyro_helm.schemes.deterministic import (
    checked_layers,
    checked_max_enumerated,
    checked_tolerance,
    expected_log_probs,
    mean_log,
    sum_over_data,
)
from pyro_helm.schemes.disarm import antithetic_weight


class ExactLayers(Scheme):
    """Unbiased gradient of the free energy, in which only the layers between data and top are drawn.

    With a single hidden layer nothing is drawn, and it is :class:`ExactMeanField`.

    Args:
        num_particles: draws per datum and restart of each layer but the top, each with a partner.
        tolerance: largest error of an expected log-probability, in nats, as of :class:`ExactMeanField`.
        max_enumerated: sum over every state of a layer of no more units, at most 20; 0 takes the quadrature everywhere.

    Raises:
        ValueError: for settings out of range; in use, as :class:`ExactMeanField`.
        TypeError: in use, for programs other than a :class:`BeliefNetwork` and a :class:`FactorialRecognition`, or
            arguments other than ``observations``.

    >>> model, guide = BeliefNetwork((6, 4, 2), seed=0), FactorialRecognition((6, 4, 2), seed=0)
    >>> x = torch.ones(10, 6)
    >>> ExactLayers(num_particles=2).loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "exact_layers"
    captures = False  # how many nodes it takes depends on the values

    def __init__(self, num_particles: int = 1, *, tolerance: float | None = None, max_enumerated: int = 8) -> None:
        super().__init__(num_particles)
        self.tolerance = checked_tolerance(tolerance)
        self.max_enumerated = checked_max_enumerated(max_enumerated)

    def estimate(self, programs: Programs) -> Estimate:
        """Minus the free energy F summed over the data, ``[restarts]``, in nats."""
        model: Any = programs.model
        x = checked_layers("ExactLayers", programs)
        pairs = _AntitheticPairs(self.num_particles)
        layers = programs.guide.mean_field({"x": x}, passed=pairs)
        means = [layer.mean for layer in layers]
        of_p = expected_log_probs(self._log_probs, model, x, [*pairs.draws, means[-1]], means)
        *of_p, top = of_p
        first, *others = [term + layer.entropy().sum(-1) for term, layer in zip(of_p, layers, strict=True)]
        if not others:
            return Estimate(sum_over_data(first + top, model.restarts))
        others[-1] = others[-1] + top
        # [paths, particles, ...]: path 0 is the draw, path l leaves it at layer l
        others = [term.unflatten(0, (-1, self.num_particles)) for term in others]
        value = first + sum(term.mean((0, 1)) for term in others)
        surrogate = value
        for level, score in enumerate(pairs.scores, start=1):
            difference = sum(term[0] - term[level] for term in others[level - 1 :]).detach()
            surrogate = surrogate + (difference / 2 * score).mean(0)
        return Estimate(*(sum_over_data(each, model.restarts) for each in (value, surrogate)))

    def _log_probs(self, layer: Imaging, q: Tensor) -> LogProbs:
        return mean_log(layer, q, self.tolerance, self.max_enumerated)


class _AntitheticPairs:
    """Draws a layer for every path so far, and a partner of the first path's draw, which begins another."""

    def __init__(self, num_particles: int) -> None:
        self.num_particles = num_particles
        self.draws: list[Tensor] = []
        """Of each layer, ``[paths x particles, restarts, data, units]``; one path more than of the layer below."""
        self.scores: list[Tensor] = []
        """Of each layer, what the difference of the pair is multiplied by, ``[particles, restarts, data]``."""

    def __call__(self, layer: Bernoulli) -> Tensor:
        logits = layer.logits
        if not self.draws:
            logits = logits.expand(self.num_particles, *logits.shape)
        own = logits[: self.num_particles]
        with torch.no_grad():
            uniform, probs = torch.rand_like(logits), torch.sigmoid(logits)
            drawn = (uniform < probs).to(logits)
            value, partner = (each[: self.num_particles] for each in (drawn, (1 - uniform < probs).to(logits)))
            weight = antithetic_weight(value, partner, own)
        self.scores.append((weight * own).sum(-1))
        self.draws.append(torch.cat([drawn, partner]))
        return self.draws[-1]
