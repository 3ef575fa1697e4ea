"""The recognition half of a Helmholtz machine: a bottom-up network that proposes the causes of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import pyro
import torch
from pyro.distributions import Bernoulli
from pyro.nn import PyroModule, pyro_method

from pyro_helm.layers import Sigmoid, local_parameters
from pyro_helm.layers.missing import PartlySeen
from pyro_helm.programs.layered import (
    Observations,
    checked_observations,
    checked_sizes,
    layer_plates,
    seeded_generator,
    site_names,
)
from pyro_helm.runtime.arguments import flag
from pyro_helm.runtime.device import placement


class FactorialRecognition(PyroModule):  # type: ignore[misc]
    """Layered recognition network, ``q(h | x) = q(h1 | x) q(h2 | h1) ... q(hL | hL-1)``, factorial in each layer.

    A Pyro guide with one sample site per hidden layer, ``h1`` first; unit j of a layer is on with probability
    ``sigmoid(b_j + sum_i s_i phi_ij)`` given the sampled layer below (equation 3.1 of the paper).

    Args:
        sizes: units per layer, bottom to top, as the model's.
        restarts: independent machines in one batch, as the model's.
        seed: seed of the initial values, which differ per restart; None takes torch's global generator.
        missing: whether it learns weights of an indicator that a visible unit is missing (NaN), beside 1/2 in its
            place; ``fit`` adds them where data have missing values. Complete data are recognised without them.

    Raises:
        ValueError: for sizes or restarts out of range.

    Source: Dayan, Hinton, Neal & Zemel 1995, section 3.

    >>> guide = FactorialRecognition((32, 24, 2), restarts=8, seed=0)
    >>> [h.shape for h in guide({"x": torch.zeros(100, 32)})]  # h1, h2: [restarts, data, units]
    [torch.Size([8, 100, 24]), torch.Size([8, 100, 2])]
    """

    structure: ClassVar[Literal["generative", "recognition"]] = "recognition"

    def __init__(
        self, sizes: Sequence[int], *, restarts: int = 1, seed: int | None = None, missing: bool = False
    ) -> None:
        super().__init__()
        sizes, restarts = checked_sizes(sizes, restarts)
        self.sizes = sizes
        self.restarts = restarts
        generator = seeded_generator(seed, stream=1)
        (visible, lowest), *layers = pairwise(sizes)
        self.recognition = PyroModule[torch.nn.ModuleList](
            [
                PartlySeen(visible, lowest, missing=flag("missing", missing), restarts=restarts, generator=generator),
                *(Sigmoid(below, above, restarts=restarts, generator=generator) for below, above in layers),
            ]
        )

    def forward(self, observations: Observations | None = None) -> list[torch.Tensor]:
        """Run the program, bottom layer first, and return the hidden layers.

        Each is ``[..., restarts, data, units]``, or ``[..., data, units]`` for a single restart.

        Args:
            observations: ``{"x": values}`` with values ``[..., data, units]``, NaN where missing, and values of hidden
                layers if the model is shown them too; those are not sampled.

        Raises:
            ValueError: for a missing ``x``, an unknown site or a wrong width.

        """
        observed = self._checked(observations)
        with local_parameters():
            conditionals = [layer.conditional() for layer in self.recognition]
        units = observed["x"]
        hidden = []
        with layer_plates(self.restarts, units.shape[-2]):
            for name, conditional in zip(site_names(self.sizes)[1:], conditionals, strict=True):
                units = observed[name] if name in observed else pyro.sample(name, conditional(units))
                hidden.append(units)
        return hidden

    @pyro_method  # type: ignore[untyped-decorator]
    def mean_field(self, observations: Observations) -> list[Bernoulli]:
        """Distributions of the hidden units where means, not samples, go up: 3.10 of the paper, bottom to top.

        Each is of batch shape ``[..., restarts, data, units]``, without restarts if there is one.

        Args:
            observations: ``{"x": values}`` with values ``[..., data, units]``.

        Raises:
            ValueError: for a missing ``x``, an unknown site or a wrong width.

        """
        q = self._checked(observations)["x"]
        layers = []
        with local_parameters():
            for layer in self.recognition:
                layers.append(layer.distribution(layer.drive(q)))
                q = layers[-1].mean
        return layers

    def _checked(self, observations: Observations | None) -> dict[str, torch.Tensor]:
        if observations is None or (isinstance(observations, Mapping) and "x" not in observations):
            raise ValueError('a recognition network needs data to recognise: call it with observations={"x": values}')
        return checked_observations(observations, self.sizes, placement(self)["dtype"])

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters."""
        config = {"sizes": self.sizes, "restarts": self.restarts}
        return config | {"missing": True} if self.recognition[0].learns_missing else config

    def learn_missing(self) -> None:
        """Learn weights of an indicator for each visible unit that may be missing, from 0 on, if it does not yet."""
        self.recognition[0].learn_missing()
