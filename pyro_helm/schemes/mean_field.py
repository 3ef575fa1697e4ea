"""The deterministic Helmholtz machine: probabilities in place of samples, upwards and downwards.

    q_j^l = sigmoid(b_j + sum_i q_i^(l-1) phi_ij),     q^1 = x                                                  (3.10)
    F     = sum_l sum_j  q_j^l log(q_j^l / p_j^l) + (1 - q_j^l) log((1 - q_j^l) / (1 - p_j^l))                  (3.11)

with ``p^l`` made from ``q^(l+1)``: for a sigmoid ``sigmoid(q theta + b)``; for a noisy-or the mean of A.1,
``1 - (1 - b) prod_k (1 - q_k theta_k)``; for odds A.3, or the mean of A.2 where there are few causes.

F has the log of a mean where a bound on ``log p(x)`` has the mean of a log; the paper says at the end of its appendix
B that the two differ. So F is no bound, and a model whose F is low need not be a good one. :class:`ExactMeanField` is
the bound.

Dayan, Hinton, Neal & Zemel 1995, section 3 (3.11 is printed with the sign of -F) and appendices A and B.
"""

from __future__ import annotations

from torch import Tensor

from pyro_helm.layers import Imaging, LogProbs
from pyro_helm.programs.pair import Programs
from pyro_helm.schemes.base import Estimate, Scheme
from pyro_helm.schemes.deterministic import checked_max_enumerated, negative_free_energies


class MeanField(Scheme):
    """The paper's deterministic loss, 3.11, with its gradient for model and guide. It is not a bound.

    Use float64 where noisy-or weights may reach 17: in float32, under a cause whose ``q`` rounds to 1, such a weight
    makes ``log(1 - p)`` minus infinity, though the exact value is finite.

    Args:
        max_enumerated: the mean of A.2 is a sum over every state of the layer above where that has no more units; the
            paper did so for "only three", read as three or fewer. 0 takes A.3 everywhere, 20 is the most.

    Raises:
        ValueError: for a ``max_enumerated`` out of range; in use, for observations other than ``x``, of shape
            ``[data, units]`` or ``[restarts, data, units]``.
        TypeError: in use, for programs other than a :class:`BeliefNetwork` and a :class:`FactorialRecognition`, or
            arguments other than ``observations``.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> MeanField().loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "mean_field"
    samples = False
    captures = False  # its products over causes are compiled by themselves

    def __init__(self, *, max_enumerated: int = 3) -> None:
        super().__init__()
        self.max_enumerated = checked_max_enumerated(max_enumerated)

    def estimate(self, programs: Programs) -> Estimate:
        """Minus the deterministic F (3.11), which is no bound, summed over the data, ``[restarts]``, in nats."""
        return Estimate(negative_free_energies("MeanField", self._log_probs, programs))

    def _log_probs(self, layer: Imaging, q: Tensor) -> LogProbs:
        return layer.log_mean(q, max_enumerated=self.max_enumerated)
