"""Recognition through time: hidden layers of a step from what is seen at that step and the step before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor

from pyro_helm.layers import local_parameters
from pyro_helm.layers.missing import IN_PLACE
from pyro_helm.layers.through_time import SequenceLayer, ThroughTime
from pyro_helm.programs.layered import checked_sizes, layer_plates, seeded_generator, shown_sizes, site_names
from pyro_helm.programs.sequences import checked_sequences
from pyro_helm.runtime.device import placement


class TemporalRecognition(PyroModule):  # type: ignore[misc]
    """Recognition network of sequences, ``q(h | x) = prod_t q(h1_t | x_t, h1_t-1) q(h2_t | h1_t, h2_t-1) ...``.

    A Pyro guide with one sample site per hidden layer, each a whole sequence ``[steps, units]``. It recognises from the
    past and the present, not from what is still to come. Steps after the end, which the observation ``length`` gives,
    are masked as in the model; missing values (NaN) are seen as 1/2.

    Args:
        sizes: units per layer at each step, bottom to top, as the model's.
        restarts: independent machines in one batch, as the model's.
        seed: seed of the initial values, which differ per restart; None takes torch's global generator.

    Attributes:
        widths: the sizes.

    Raises:
        ValueError: for sizes or restarts out of range.

    References:
        Hinton, Dayan, To & Neal 1995, The Helmholtz machine through time, ICANN-95, 483-490.

    >>> guide = TemporalRecognition((5, 4), restarts=2, seed=0)
    >>> [h.shape for h in guide({"x": torch.zeros(3, 7, 5), "length": torch.tensor([7, 2, 0])})]
    [torch.Size([2, 3, 7, 4])]
    """

    structure: ClassVar[Literal["generative", "recognition"]] = "recognition"
    extra_repr = shown_sizes

    def __init__(self, sizes: Sequence[int], *, restarts: int = 1, seed: int | None = None) -> None:
        super().__init__()
        self.widths, self.restarts = checked_sizes(sizes, restarts)
        generator = seeded_generator(seed, stream=1)
        self.recognition = PyroModule[torch.nn.ModuleList](
            SequenceLayer(below, units, restarts=self.restarts, generator=generator)
            for below, units in pairwise(self.widths)
        )

    def forward(self, observations: Any = None) -> list[Tensor]:
        """Run the program, bottom layer first, and return the hidden layers, ``[..., restarts, data, steps, units]``.

        Args:
            observations: ``x`` as ``[..., data, steps, units]``, NaN where missing, and ``length`` as ``[data]``, which
                may be left out.

        Raises:
            TypeError: for observations that are no mapping of tensors.
            ValueError: for no ``x``, other names, another width, or a length that is none.

        """
        seen = checked_sequences(observations, self.widths[0], placement(self)["dtype"])
        if seen.x is None:
            raise ValueError('a recognition network needs data to recognise: call it with observations={"x": values}')
        with local_parameters():
            conditionals = [layer.conditional(seen.num_steps) for layer in self.recognition]
        units, hidden = seen.x.nan_to_num(nan=IN_PLACE), []
        with layer_plates(self.restarts, seen.num_data):
            for name, conditional in zip(site_names(self.widths)[1:], conditionals, strict=True):
                drive, before = conditional(units)
                units = pyro.sample(name, ThroughTime(drive, before, seen.inside))
                hidden.append(units)
        return hidden

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters."""
        return {"sizes": self.widths, "restarts": self.restarts}
