"""Variational EM: mean-field parameters of each datum found by iteration, with no recognition network.

    q(h | x) = prod_j mu_j^h_j (1 - mu_j)^(1 - h_j),     a_j = logit mu_j,     of every datum its own
    -F(mu)   = E[log p(x, h)] + entropy of q
    E:  a <- a + step (d E[log p(x, h)] / d mu - a),     as long as F falls; a step that raises it is halved
    M:  d/dtheta  E[log p(x, h)]  at the mu that were found
        d/dphi    E[log q(h | x)]                        (left out without a guide)

A full step sets every unit to its best value given all others, of which the direction is that of the natural gradient,
so that a short enough step never raises F. The expectations are those of :class:`ExactMeanField`, exact for independent
units, or with ``exact=False`` the log of the mean as in :class:`MeanField`, which is the paper's F and no bound. Every
call begins at ``mu = 1/2``: the value depends on the parameters and the datum alone.

Saul, Jaakkola & Jordan, Mean field theory for sigmoid belief networks, 1996; Saund, A multiple cause mixture model for
unsupervised learning, 1995, and Dayan & Zemel, Competition and multiple cause models, 1995, with one hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli

from pyro_helm.guides import FactorialRecognition
from pyro_helm.layers import Imaging, LogProbs, local_parameters
from pyro_helm.programs.pair import Programs
from pyro_helm.runtime.arguments import at_least_one, flag, number
from pyro_helm.runtime.device import placement
from pyro_helm.schemes.base import Estimate, Scheme
from pyro_helm.schemes.deterministic import (
    checked_layers,
    checked_max_enumerated,
    checked_tolerance,
    expected_log_prob,
    expected_log_probs,
    mean_log,
    sum_over_data,
)

LARGEST_LOGIT = 30.0
"""Beyond it a unit is certain in any precision."""


class VariationalEM(Scheme):
    """The best factorial posterior of each datum that iteration finds, and the model's gradient there.

    A guide, if there is one, learns what was found.

    Args:
        exact: take the exact bound; False for the paper's F, with the log of the mean, which is no bound.
        num_iterations: at most, in the E-step of a call.
        least_gain: nats; the E-step of a datum ends with an iteration that gains less.
        tolerance: largest error of an expected log-probability, in nats, as of :class:`ExactMeanField`.
        max_enumerated: sum over every state of a layer of no more units, at most 20; 0 takes the rule for larger layers
            everywhere.

    Raises:
        ValueError: for settings out of range; in use, as :class:`ExactMeanField`.
        TypeError: in use, for a model other than a :class:`BeliefNetwork` of binary layers, a guide other than a
            :class:`FactorialRecognition`, or arguments other than ``observations``.

    >>> model = BeliefNetwork((6, 4), imaging="odds", seed=0)
    >>> x = torch.ones(10, 6)
    >>> bound = -VariationalEM().loss(model, None, observations={"x": x})
    >>> bool(bound <= log_likelihood(model, None, x, method="exact").table.log_likelihood.sum())
    True
    """

    name = "variational_em"
    samples = False
    needs_guide = False
    captures = False  # how many iterations it takes depends on the values

    def __init__(
        self,
        *,
        exact: bool = True,
        num_iterations: int = 30,
        least_gain: float = 1e-4,
        tolerance: float | None = None,
        max_enumerated: int = 8,
    ) -> None:
        super().__init__()
        self.exact = flag("exact", exact)
        self.num_iterations = at_least_one("num_iterations", num_iterations)
        if not number("least_gain", least_gain) >= 0:
            raise ValueError(f"least_gain must be a number of nats, 0 or more, got {least_gain}")
        self.least_gain = least_gain
        self.tolerance = checked_tolerance(tolerance)
        self.max_enumerated = checked_max_enumerated(max_enumerated)

    def estimate(self, programs: Programs) -> Estimate:
        """Minus the free energy F of what was found, summed over the data, ``[restarts]``, in nats."""
        model: Any = programs.model
        x = checked_layers("VariationalEM", programs)

        def expected(mu: Tensor) -> Tensor:
            means = mu.split(model.sizes[1:], dim=-1)
            first, *terms = expected_log_probs(self._log_probs, model, x, means, means)
            return sum(terms, first)

        logits = self._found(expected, self._start(model, x))
        of_p = expected(torch.sigmoid(logits))
        bound = sum_over_data(of_p + _entropy(logits), model.restarts)
        if programs.guide is None:
            return Estimate(bound)
        means = torch.sigmoid(logits).split(model.sizes[1:], dim=-1)
        of_q = self._expected_log_guide(programs.guide, x, means)
        return Estimate(bound, sum_over_data(of_p + of_q, model.restarts))

    def _start(self, model: Any, x: Tensor) -> Tensor:
        """Logits of 0, ``[restarts, data, hidden units]``, of a single restart without that dimension."""
        shape = (x.shape[-2], sum(model.sizes[1:]))
        return torch.zeros(shape if model.restarts == 1 else (model.restarts, *shape), **placement(model))

    def _found(self, expected: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
        """The E-step: logits of the units of every datum, constants."""
        bound, towards = _bound_and_direction(expected, logits)
        step, goes_on = torch.ones_like(bound), torch.ones_like(bound, dtype=torch.bool)
        for _ in range(self.num_iterations):
            proposed = (logits + step[..., None] * (towards - logits)).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
            new_bound, new_towards = _bound_and_direction(expected, proposed)
            gain = new_bound - bound
            taken = goes_on & (gain > 0)  # not where it is NaN
            logits, towards = (
                torch.where(taken[..., None], new, old) for new, old in ((proposed, logits), (new_towards, towards))
            )
            bound = torch.where(taken, new_bound, bound)
            step = torch.where(taken, (1.5 * step).clamp(max=1), step / 2)
            # a step that fails at an optimum is shorter every time, and then moves nothing
            goes_on = goes_on & ~(taken & (gain < self.least_gain)) & (step > 1e-6)
            if not bool(goes_on.any()):
                break
        return logits

    def _log_probs(self, layer: Imaging, q: Tensor) -> LogProbs:
        if self.exact:
            return mean_log(layer, q, self.tolerance, self.max_enumerated)
        return layer.log_mean(q, max_enumerated=self.max_enumerated)

    def _expected_log_guide(self, guide: FactorialRecognition, x: Tensor, means: tuple[Tensor, ...]) -> Tensor:
        """``E[log q(h | x)]`` over independent units, ``[..., data]``."""
        (first, *_), (lowest, *_) = guide.mean_field({"x": x}), means
        total: Tensor = -torch.nn.functional.binary_cross_entropy_with_logits(
            first.logits, lowest.expand_as(first.logits), reduction="none"
        ).sum(-1)
        with local_parameters():
            for layer, below, own in zip(guide.recognition[1:], means[:-1], means[1:], strict=True):
                total = total + expected_log_prob(own, mean_log(layer, below, self.tolerance, self.max_enumerated))
        return total


def _bound_and_direction(expected: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    """``-F`` of each datum, ``[..., data]``, and the logits at which each unit is best given all others."""
    with torch.enable_grad():
        mu = torch.sigmoid(logits).requires_grad_()
        of_p = expected(mu)
        (direction,) = torch.autograd.grad(of_p.sum(), mu)
    return of_p.detach() + _entropy(logits), direction


def _entropy(logits: Tensor) -> Tensor:
    entropy: Tensor = Bernoulli(logits=logits, validate_args=False).entropy().sum(-1)
    return entropy
