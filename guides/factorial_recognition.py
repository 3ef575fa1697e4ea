"""The recognition half of a Helmholtz machine: a bottom-up network that proposes the causes of data."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from pyro.distributions import Bernoulli
from pyro.nn import pyro_method
from torch import Tensor

from pyro_helm.guides.bottom_up import BottomUp
from pyro_helm.layers import local_parameters
from pyro_helm.programs.labels import side_by_side
from pyro_helm.programs.layered import Observations


def _mean(layer: Bernoulli) -> Tensor:
    mean: Tensor = layer.mean
    return mean


class FactorialRecognition(BottomUp):
    """Layered recognition network, factorial in each layer.

        q(h | x) = q(h1 | x) q(h2 | h1) ... q(hL | hL-1)

    A Pyro guide with one sample site per hidden layer, ``h1`` first; unit j of a layer is on with probability
    ``sigmoid(b_j + sum_i s_i phi_ij)`` given the sampled layer below (equation 3.1 of the paper).

    Args:
        sizes: units per layer, bottom to top, as the model's.
        restarts: independent machines in one batch, as the model's.
        seed: seed of the initial values, which differ per restart; None takes torch's global generator.
        missing: whether it learns weights of an indicator that a visible unit is missing (NaN), beside 1/2 in its
            place; ``fit`` adds them where data have missing values. Complete data are recognised without them.
        trunk: any module from rows ``[rows, units]`` to features ``[rows, features]``, a convolution say, which stand
            in the place of ``x`` in the first layer. With restarts each has its own, the first one this module's
            values, the others drawn anew by ``reset_parameters``. A machine with a trunk is loaded by
            ``load(path, guide=...)``.
        condition: number of labels, as the model's: the observation ``label`` drives every layer; None for none.
        groups: of hidden layers that are categorical, by site, as the model's; ``{"h1": 4}``.
        initial_bias: where the biases begin, one for all or one per hidden layer, bottom to top, logits; None for near
            0. ``(-3, None)`` begins with few units of the first hidden layer on.

    Raises:
        TypeError: for a trunk that is no module.
        ValueError: for sizes or restarts out of range, or a trunk that makes something else of rows.

    References:
        Dayan, Hinton, Neal & Zemel 1995, `The Helmholtz machine <https://doi.org/10.1162/neco.1995.7.5.889>`__, section
        3.

    >>> guide = FactorialRecognition((32, 24, 2), restarts=8, seed=0)
    >>> [h.shape for h in guide({"x": torch.zeros(100, 32)})]  # h1, h2: [restarts, data, units]
    [torch.Size([8, 100, 24]), torch.Size([8, 100, 2])]
    """

    structure: ClassVar[Literal["generative", "recognition"]] = "recognition"

    @pyro_method  # type: ignore[untyped-decorator]
    def mean_field(
        self, observations: Observations, *, passed: Callable[[Bernoulli], Tensor] = _mean
    ) -> list[Bernoulli]:
        """Distributions of the hidden units where means, not samples, go up: 3.10 of the paper, bottom to top.

        Each is of batch shape ``[..., restarts, data, units]``, without restarts if there is one.

        Args:
            observations: ``{"x": values}`` with values ``[..., data, units]``.
            passed: what goes up from a layer in the place of its mean, ``[..., data, units]``; not asked of the top.

        Raises:
            ValueError: for a missing ``x``, an unknown site or a wrong width.

        """
        observed, label = self._checked(observations)
        known_to_all = [] if label is None else [label]
        below = self._seen(observed["x"])
        layers: list[Bernoulli] = []
        with local_parameters():
            for layer in self.recognition:
                if layers:
                    below = passed(layers[-1])
                layers.append(layer.distribution(layer.drive(side_by_side([below, *known_to_all]))))
        return layers
