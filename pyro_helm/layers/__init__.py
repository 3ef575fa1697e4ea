"""Imaging models: how the binary causes of one layer make the probabilities of the units below.

All are one matrix product, the *drive* ``s @ weight + leak``, read in different ways:

=========== ======================= =================================== =====================
imaging     drive                   a unit, given it                    source
=========== ======================= =================================== =====================
sigmoid     logit                   on by ``1 / (1 + exp(-drive))``     the paper, 3.3
noisy_or    rate, ``-log(1 - p)``   on by ``1 - exp(-drive)``           the paper, A.1
odds        odds, ``p / (1 - p)``   on by ``drive / (1 + drive)``       the paper, A.2
gaussian    mean                    Normal(drive, scale)                visible layers alone
poisson     log of the rate         Poisson(exp(drive))                 visible layers alone
categorical logits                  one of its group by softmax(drive)  visible layers alone
=========== ======================= =================================== =====================

The paper's noisy-or parameter ``theta`` (the probability that a cause alone turns the unit on) is
``1 - exp(-weight)``: a product over causes of ``1 - s_k theta_k`` is then a sum of rates.

Where the causes are uncertain, on with independent probabilities ``q``, each model also knows the log of the mean
probability (the paper's deterministic machine) and the mean of the log-probability (a true bound).

The paper: Dayan, Hinton, Neal & Zemel, The Helmholtz Machine, Neural Computation 7, 889-904 (1995).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyro_helm.layers.categorical import Categorical
from pyro_helm.layers.gaussian import Gaussian
from pyro_helm.layers.imaging import Imaging, LogProbs, local_parameters
from pyro_helm.layers.noisy_or import NoisyOr
from pyro_helm.layers.odds import Odds
from pyro_helm.layers.poisson import PoissonCounts
from pyro_helm.layers.sigmoid import Sigmoid

IMAGING: dict[str, type[Imaging]] = {
    "sigmoid": Sigmoid,
    "noisy_or": NoisyOr,
    "odds": Odds,
    "gaussian": Gaussian,
    "poisson": PoissonCounts,
    "categorical": Categorical,
}
"""Imaging models by name."""


def imaging_model(which: object) -> type[Imaging]:
    """The class of an imaging model that is given by its name, or as a subclass of :class:`Imaging`.

    A class of one's own is also found by its ``module:name``, as files have it, where its module has been imported.

    Raises:
        ValueError: for anything else.

    """
    if isinstance(which, type) and issubclass(which, Imaging):
        return which
    if isinstance(which, str):
        known = IMAGING | ({name_of(kind): kind for kind in _subclasses(Imaging)} if ":" in which else {})
        if which in known:
            return known[which]
    where = "; import the module that defines it first" if isinstance(which, str) and ":" in which else ""
    raise ValueError(f"imaging must be one of {', '.join(IMAGING)}, or a subclass of Imaging; got {which!r}{where}")


def name_of(kind: type[Imaging]) -> str:
    """Name of an imaging model: in :data:`IMAGING`, or ``module:name`` of one's own."""
    return next((name for name, known in IMAGING.items() if known is kind), f"{kind.__module__}:{kind.__qualname__}")


def _subclasses(kind: Any) -> Iterator[type[Imaging]]:
    for own in kind.__subclasses__():
        yield own
        yield from _subclasses(own)


__all__ = [
    "IMAGING",
    "Categorical",
    "Gaussian",
    "Imaging",
    "LogProbs",
    "NoisyOr",
    "Odds",
    "PoissonCounts",
    "Sigmoid",
    "imaging_model",
    "local_parameters",
    "name_of",
]
