"""The noisy-or imaging model (the paper, A.1): causes add to a unit's rate."""

from __future__ import annotations

import math

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyro_helm.layers.distributions import NoisyOrBernoulli
from pyro_helm.layers.imaging import Imaging, LogProbs
from pyro_helm.layers.products import product_of_complements
from pyro_helm.layers.quadrature import mean_exponential, rate_rule


class NoisyOr(Imaging):
    """``p = 1 - exp(-drive)`` (the paper, A.1): each active cause turns the unit on independently of the others."""

    is_binary = True
    # softplus maps the logit of the paper's theta = 1 - exp(-weight) to the weight
    constraint = constraints.softplus_positive

    def distribution(self, drive: Tensor) -> TorchDistribution:
        """Bernoulli with rate ``drive[..., units]``."""
        return NoisyOrBernoulli(drive)

    def initial_weight(self, noise: Tensor) -> Tensor:
        """Log-normal with median exp(-4), shaped as the noise ``[...]``: each unit listens to a few causes only."""
        return torch.exp(2 * noise - 4)

    def initial_leak(self, noise: Tensor) -> Tensor:
        """A rate near exp(-2), shaped as the noise ``[...]``."""
        return torch.exp(0.1 * noise - 2)

    def drive_of_leak(self, leak: float) -> float:
        """Rate ``-log(1 - leak)`` of a leak probability."""
        if not 0 < leak < 1:
            raise ValueError(f"the leak of a noisy_or layer must be a probability between 0 and 1, got {leak}")
        return -math.log1p(-leak)

    def log_mean(self, q: Tensor, *, max_enumerated: int) -> LogProbs:
        """Of ``1 - exp(-leak) prod_k (1 - q_k theta_k)``, the exact mean of A.1 under independent causes ``q[..., k]``.

        In float32, where ``q_k`` rounds to 1 and a weight is 17 or more, ``log(1 - p)`` is minus infinity where the
        exact value is finite; use float64 there.
        """
        weight, leak = self.weight_and_leak
        none = product_of_complements(q, -torch.expm1(-weight)).times(-leak)
        return LogProbs(none.log_complement, none.log)

    def mean_log_by_quadrature(self, q: Tensor, *, tolerance: float) -> LogProbs:
        """``-sum_i c_i E[exp(-t_i rate)]``, and ``-E[rate]`` exactly."""
        weight, leak = self.weight_and_leak
        rule = rate_rule(leak.detach(), tolerance)
        mean = mean_exponential(q, weight, leak, rule.nodes)
        return LogProbs(-(rule.on[..., None, :, :] * mean).sum(-2), -self.drive(q))
