"""The free energy of a fully factorial guide, without sampling: a true bound in the place of the deterministic loss.

    q_j^l = sigmoid(b_j + sum_i q_i^(l-1) phi_ij),     q^1 = x                                                  (3.10)
    F     = sum_l sum_j  q_j^l (log q_j^l - E[log p_j^l]) + (1 - q_j^l) (log(1 - q_j^l) - E[log(1 - p_j^l)])

The expectations are over the independent units of the layer above, and ``-F <= log p(x)`` since ``prod_l q^l`` is a
distribution over all hidden units. They are sums over the layer's states where it has few units, and else integrals
over the Laplace transform or characteristic function of the drive, a product over causes: see
:mod:`pyro_helm.layers.quadrature`.

The deterministic F of Dayan, Hinton, Neal & Zemel 1995 has the log of the mean. The end of their appendix B says that
the mean of the log is possible for other imaging models; that it is so for A.2 too is ours.
"""

from __future__ import annotations

from torch import Tensor

from pyro_helm.layers import Imaging, LogProbs
from pyro_helm.programs.pair import Programs
from pyro_helm.schemes.base import Estimate, Scheme
from pyro_helm.schemes.deterministic import (
    checked_max_enumerated,
    checked_tolerance,
    mean_log,
    negative_free_energies,
)


class ExactMeanField(Scheme):
    """The exact bound of the guide that passes means all the way up, with its gradient for model and guide.

    The bound is that of the factorial guide, not of the same recognition network with sampled layers. Where the
    quadrature is taken, memory goes to a few arrays of data x nodes x units and a few of causes x nodes x units numbers
    per layer and restart.

    Args:
        tolerance: largest error of an expected log-probability, in nats, rounding apart; the number of nodes follows
            from it and from the range of the weights. None takes 1e-5 in float32 and 1e-10 in float64.
        max_enumerated: sum over every state of a layer of no more units, at most 20; 0 takes the quadrature everywhere.

    Raises:
        ValueError: for settings out of range; in use, for observations other than ``x``, a tolerance that can't be held
            in the precision of the parameters, or weights that would take too many nodes in every restart; where they
            would in some, the losses of those are NaN.
        TypeError: in use, for programs other than a :class:`BeliefNetwork` and a :class:`FactorialRecognition`, or
            arguments other than ``observations``.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> bound = -ExactMeanField().loss(model, guide, observations={"x": x})
    >>> bool(bound <= log_likelihood(model, None, x, method="exact").table.log_likelihood.sum())
    True
    """

    name = "exact_mean_field"
    samples = False
    captures = False  # how many nodes it takes depends on the values

    def __init__(self, *, tolerance: float | None = None, max_enumerated: int = 8) -> None:
        super().__init__()
        self.tolerance = checked_tolerance(tolerance)
        self.max_enumerated = checked_max_enumerated(max_enumerated)

    def estimate(self, programs: Programs) -> Estimate:
        """Minus the free energy F of the factorial guide, summed over the data, ``[restarts]``, in nats."""
        return Estimate(negative_free_energies("ExactMeanField", self._log_probs, programs))

    def _log_probs(self, layer: Imaging, q: Tensor) -> LogProbs:
        return mean_log(layer, q, self.tolerance, self.max_enumerated)
