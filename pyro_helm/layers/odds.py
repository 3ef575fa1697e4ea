"""The odds imaging model (the paper, A.2): causes add to a unit's odds."""

from __future__ import annotations

import math

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyro_helm.layers.distributions import OddsBernoulli
from pyro_helm.layers.imaging import Imaging, LogProbs
from pyro_helm.layers.products import product_of_complements
from pyro_helm.layers.quadrature import mean_exponential, odds_rule


class Odds(Imaging):
    """``p = drive / (1 + drive)`` (the paper, A.2): the odds that the active causes contribute add up."""

    is_binary = True
    constraint = constraints.positive

    def distribution(self, drive: Tensor) -> TorchDistribution:
        """Bernoulli with odds ``drive[..., units]``."""
        return OddsBernoulli(drive)

    def initial_weight(self, noise: Tensor) -> Tensor:
        """Log-normal with median exp(-4), shaped as the noise ``[...]``: each unit listens to a few causes only."""
        return torch.exp(2 * noise - 4)

    def initial_leak(self, noise: Tensor) -> Tensor:
        """Odds near exp(-2), shaped as the noise ``[...]``."""
        return torch.exp(0.1 * noise - 2)

    def drive_of_leak(self, leak: float) -> float:
        """The leak of an odds layer is given as odds already."""
        if not 0 < leak < math.inf:
            raise ValueError(f"the leak of an odds layer must be a positive number, got {leak}")
        return float(leak)

    def log_mean(self, q: Tensor, *, max_enumerated: int) -> LogProbs:
        r"""Of A.3, or of the exact mean of A.2 where there are at most ``max_enumerated`` causes.

        A.3 is ``p = (1 - 1/(1 + o)) [1 - prod_k (1 - q_k theta_k / (1 + theta_k))]`` with ``o = sum_k q_k theta_k``.
        The leak is one more cause, always on.
        """
        if q.shape[-1] <= max_enumerated:
            log_probs, states = self.enumerated(q)
            return LogProbs(*(torch.log(states @ log_prob.exp()) for log_prob in log_probs))
        weight, leak = self.weight_and_leak
        odds = self.drive(q)
        none = product_of_complements(q, weight / (1 + weight)).times(-torch.log1p(leak))
        on = logsigmoid(torch.log(odds)) + none.log_complement
        # 1 - p = (1 + o prod) / (1 + o)
        return LogProbs(on, torch.log1p(odds * none.value) - torch.log1p(odds))

    def mean_log_by_quadrature(self, q: Tensor, *, tolerance: float) -> LogProbs:
        """``-sum_i c_i E[exp(-t_i odds)]``, and ``-sum_i c'_i (1 - E[exp(-t_i odds)])``."""
        weight, leak = self.weight_and_leak
        highest = (leak + weight.sum(-2, keepdim=True)).detach()
        rule = odds_rule(leak.detach(), highest, tolerance)
        mean = mean_exponential(q, weight, leak, rule.nodes)
        on = -(rule.on[..., None, :, :] * mean).sum(-2)
        return LogProbs(on, -(rule.off[..., None, :, :] * (1 - mean)).sum(-2))
