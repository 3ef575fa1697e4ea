"""Exact values of what schemes estimate, by plain enumeration of tiny machines, without the library's formulas."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

IMAGING = ("sigmoid", "noisy_or", "odds")


def binary_rows(num_units: int) -> Tensor:
    """Every binary vector, [2^units, units]."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=num_units)), dtype=torch.float64)


def unit_probabilities(imaging: str, causes: Tensor, weight: Tensor, leak: Tensor) -> Tensor:
    """Probability of each unit, [..., units], as the paper writes it: product over causes, sum of odds, sigmoid."""
    if imaging == "sigmoid":
        return 1 / (1 + torch.exp(-(causes @ weight + leak)))
    if imaging == "noisy_or":
        theta, leak_probability = 1 - torch.exp(-weight), 1 - torch.exp(-leak)
        off = torch.prod(1 - causes[..., :, None] * theta, dim=-2)
        return 1 - (1 - leak_probability) * off
    odds = leak + (causes[..., :, None] * weight).sum(-2)
    return odds / (1 + odds)


def log_bernoulli(values: Tensor, probabilities: Tensor) -> Tensor:
    return torch.log(torch.where(values == 1, probabilities, 1 - probabilities)).sum(-1)


@dataclass
class Machine:
    """One restart of a belief network and its recognition network, enumerable."""

    model: BeliefNetwork
    guide: FactorialRecognition

    @property
    def states(self) -> list[Tensor]:
        """All joint hidden states, one tensor [states, units] per hidden layer."""
        joint = binary_rows(sum(self.model.sizes[1:]))
        return list(joint.split(list(self.model.sizes[1:]), dim=-1))

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, h) for every datum and state, [data, states]."""
        layers, units = list(self.model.generative), [torch.empty(0), *self.states]
        total = torch.zeros(len(x), len(self.states[0]), dtype=torch.float64)
        for level, (layer, imaging) in enumerate(zip(layers, self.model.imaging, strict=True)):
            values = x[:, None, :] if level == 0 else units[level]
            if level + 1 < len(layers):
                probabilities = unit_probabilities(imaging, units[level + 1], layer.weight[0], layer.leak[0, 0])
            else:
                probabilities = unit_probabilities(
                    imaging,
                    torch.zeros(1, 0, dtype=torch.float64),
                    torch.zeros(0, layer.num_units).double(),
                    layer.leak[0, 0],
                )
            total = total + log_bernoulli(values, probabilities)
        return total

    def log_guide(self, x: Tensor) -> Tensor:
        """log q(h | x) for every datum and state, [data, states]."""
        total = torch.zeros(len(x), len(self.states[0]), dtype=torch.float64)
        below: Tensor = x[:, None, :]
        for layer, values in zip(self.guide.recognition, self.states, strict=True):
            total = total + log_bernoulli(
                values, unit_probabilities("sigmoid", below, layer.weight[0], layer.leak[0, 0])
            )
            below = values
        return total

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), [data]."""
        return self.log_joint(x).logsumexp(-1)

    def elbo(self, x: Tensor) -> Tensor:
        """E_q[log p - log q], [data]."""
        log_q = self.log_guide(x)
        return (log_q.exp() * (self.log_joint(x) - log_q)).sum(-1)

    def over_pairs(
        self,
        x: Tensor,
        value: Callable[[Tensor, Tensor], Tensor],
        log_proposal: Callable[[Tensor], Tensor] = lambda log_q: log_q,
    ) -> Tensor:
        """E over two draws, held fixed, of ``value(log_p, log_q)`` with log_p, log_q [data, pairs, 2]; [data].

        The draws are the guide's, or those of what ``log_proposal`` makes of its log-probabilities.
        """
        log_p, log_q = self.log_joint(x), self.log_guide(x)
        count = log_p.shape[-1]
        first, second = torch.cartesian_prod(torch.arange(count), torch.arange(count)).unbind(-1)
        pair_p = torch.stack([log_p[:, first], log_p[:, second]], -1)
        pair_q = torch.stack([log_q[:, first], log_q[:, second]], -1)
        return (log_proposal(pair_q).sum(-1).exp().detach() * value(pair_p, pair_q)).sum(-1)

    def importance_bound(self, x: Tensor) -> Tensor:
        """E over two guide draws of log mean w, [data]; the gradient is theta's alone."""
        return self.over_pairs(x, lambda log_p, log_q: (log_p - log_q.detach()).logsumexp(-1) - math.log(2))

    def importance_bound_of_both(self, x: Tensor) -> Tensor:
        """The same value, but with the draws' own dependence on phi in its gradient, [data]."""
        log_p, log_q = self.log_joint(x), self.log_guide(x)
        log_w = log_p - log_q
        bound = torch.logaddexp(log_w[:, :, None], log_w[:, None, :]) - math.log(2)
        return ((log_q[:, :, None] + log_q[:, None, :]).exp() * bound).sum((-2, -1))

    def wake_phi(self, x: Tensor) -> Tensor:
        """E over two guide draws of sum_k v_k log q(h_k | x), v and draws held fixed, [data]."""
        return self.over_pairs(x, lambda log_p, log_q: ((log_p - log_q).detach().softmax(-1) * log_q).sum(-1))

    def thermodynamic_value(self, x: Tensor, points: list[float], *, upper: bool = False) -> Tensor:
        """E over two guide draws of the thermodynamic objective, with pi_b by their self-normalised weights, [data]."""

        def of_pair(log_p: Tensor, log_q: Tensor) -> Tensor:
            log_w = (log_p - log_q).detach()
            return sum(
                (high - low) * (((high if upper else low) * log_w).softmax(-1) * log_w).sum(-1)
                for low, high in itertools.pairwise(points)
            ) + torch.zeros(())

        return self.over_pairs(x, of_pair)

    def thermodynamic_gradient(self, x: Tensor, points: list[float], *, upper: bool = False) -> Tensor:
        """A function with the mean gradient of the covariance estimator of two draws, [data]."""

        def of_pair(log_p: Tensor, log_q: Tensor) -> Tensor:
            log_w = log_p - log_q
            total = torch.zeros(())
            for low, high in itertools.pairwise(points):
                beta = high if upper else low
                weight = (beta * log_w).softmax(-1).detach()
                path = (1 - beta) * log_q + beta * log_p
                mean_f, mean_path = (weight * log_w).sum(-1, keepdim=True), (weight * path).sum(-1, keepdim=True)
                covariance = 2 * (weight * (log_w - mean_f).detach() * (path - mean_path)).sum(-1)
                total = total + (high - low) * ((weight * log_w).sum(-1) + covariance)
            return total

        return self.over_pairs(x, of_pair)

    def posterior(self, x: Tensor) -> Tensor:
        """p(h | x) for every datum and state, held fixed, [data, states]."""
        return self.log_joint(x).softmax(-1).detach()

    def posterior_joint(self, x: Tensor) -> Tensor:
        """E under the posterior, held fixed, of log p(x, h), [data]."""
        return (self.posterior(x) * self.log_joint(x)).sum(-1)

    def posterior_guide(self, x: Tensor) -> Tensor:
        """E under the posterior, held fixed, of log q(h | x), [data]."""
        return (self.posterior(x) * self.log_guide(x)).sum(-1)

    def wake_theta(self, x: Tensor) -> Tensor:
        """E under the guide, held fixed, of log p(x, h), [data]."""
        return (self.log_guide(x).exp().detach() * self.log_joint(x)).sum(-1)

    def sleep_phi(self) -> Tensor:
        """E under the model, held fixed, of log q(h | x), a scalar."""
        every_x = binary_rows(self.model.sizes[0])
        return (self.log_joint(every_x).exp().detach() * self.log_guide(every_x)).sum()
