"""The sigmoid imaging model (the paper, 3.3): causes add to a unit's logit."""

from __future__ import annotations

import math

from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyro_helm.layers.distributions import SigmoidBernoulli
from pyro_helm.layers.imaging import Imaging, LogProbs
from pyro_helm.layers.quadrature import cosine_rule, mean_cosine


class Sigmoid(Imaging):
    """``p = 1 / (1 + exp(-drive))`` (the paper, equation 3.3)."""

    is_binary = True

    def distribution(self, drive: Tensor) -> TorchDistribution:
        """Bernoulli with logit ``drive[..., units]``."""
        return SigmoidBernoulli(drive)

    def log_mean(self, q: Tensor, *, max_enumerated: int) -> LogProbs:
        """Of ``sigmoid(q[..., k] @ weight + leak)``, 3.10: the sigmoid of the mean, not the mean of the sigmoid."""
        drive = self.drive(q)
        return LogProbs(logsigmoid(drive), logsigmoid(-drive))

    def mean_log_by_quadrature(self, q: Tensor, *, tolerance: float) -> LogProbs:
        """``+- E[a] / 2 - E[log 2cosh(a / 2)]`` of the logit ``a``."""
        weight, leak = self.weight_and_leak
        highest = (weight.abs().sum(-2, keepdim=True) + leak.abs()).detach()
        rule = cosine_rule(highest, tolerance)
        mean = self.drive(q)
        square = mean**2 + (q * (1 - q)) @ weight**2
        cosine = mean_cosine(q, weight, leak, rule.nodes)
        log_cosh = rule.curvature * square + (rule.weights[..., None, :, :] * (1 - cosine)).sum(-2)
        return LogProbs(mean / 2 - math.log(2) - log_cosh, -mean / 2 - math.log(2) - log_cosh)
