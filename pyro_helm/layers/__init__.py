"""Imaging models: how the binary causes of one layer make the probabilities of the units below.

All three are one matrix product, the *drive* ``s @ weight + leak``, read in three ways:

========== ======================= ============================== =====================
imaging    drive                   probability of a unit          source (the paper)
========== ======================= ============================== =====================
sigmoid    logit                   ``1 / (1 + exp(-drive))``      equation 3.3
noisy_or   rate, ``-log(1 - p)``   ``1 - exp(-drive)``            equation A.1
odds       odds, ``p / (1 - p)``   ``drive / (1 + drive)``        equation A.2
========== ======================= ============================== =====================

The paper's noisy-or parameter ``theta`` (the probability that a cause alone turns the unit on) is
``1 - exp(-weight)``: a product over causes of ``1 - s_k theta_k`` is then a sum of rates.

Where the causes are uncertain, on with independent probabilities ``q``, each model also knows the log of the mean
probability (the paper's deterministic machine) and the mean of the log-probability (a true bound).

The paper: Dayan, Hinton, Neal & Zemel, The Helmholtz Machine, Neural Computation 7, 889-904 (1995).
"""

from pyro_helm.layers.imaging import Imaging, LogProbs, local_parameters
from pyro_helm.layers.noisy_or import NoisyOr
from pyro_helm.layers.odds import Odds
from pyro_helm.layers.sigmoid import Sigmoid

IMAGING: dict[str, type[Imaging]] = {"sigmoid": Sigmoid, "noisy_or": NoisyOr, "odds": Odds}
"""Imaging models by name."""

__all__ = ["IMAGING", "Imaging", "LogProbs", "NoisyOr", "Odds", "Sigmoid", "local_parameters"]
