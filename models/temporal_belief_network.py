"""A belief network through time: the layers of a step depend on those of the step before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pyro
import torch
from pyro.distributions import Bernoulli
from pyro.nn import PyroModule
from torch import Tensor

from pyro_helm.layers import local_parameters
from pyro_helm.layers.through_time import SequenceLayer, ThroughTime
from pyro_helm.programs.layered import checked_sizes, layer_plates, seeded_generator, shown_sizes, site_names
from pyro_helm.programs.sequences import checked_sequences
from pyro_helm.runtime.device import placement


class TemporalBeliefNetwork(PyroModule):  # type: ignore[misc]
    r"""Belief network of sequences, ``p(x, h) = prod_t p(hL_t | hL_t-1) ... p(h1_t | h2_t, h1_t-1) p(x_t | h1_t)``.

    A Pyro model with one sample site per layer, ``hL`` first and ``x`` last, each a whole sequence of binary units
    ``[steps, units]``. Hidden layers depend on the layer above at their own step and on themselves a step before, by
    sigmoids. Steps after the end of a sequence, which the observation ``length`` gives, are masked, and so are missing
    values (NaN) of ``x``; both are left out exactly.

    Args:
        sizes: units per layer at each step, bottom to top.
        restarts: independent machines in one batch.
        seed: seed of the initial values, which differ per restart; None takes torch's global generator.

    Attributes:
        widths: the sizes.

    Raises:
        ValueError: for sizes or restarts out of range.

    References:
        Hinton, Dayan, To & Neal 1995, The Helmholtz machine through time, ICANN-95, 483-490.

    >>> model = TemporalBeliefNetwork((5, 4), restarts=2, seed=0)
    >>> model(num_data=3, num_steps=7).shape  # dreams: [restarts, data, steps, units]
    torch.Size([2, 3, 7, 5])
    """

    structure: ClassVar[Literal["generative", "recognition"]] = "generative"
    extra_repr = shown_sizes

    def __init__(self, sizes: Sequence[int], *, restarts: int = 1, seed: int | None = None) -> None:
        super().__init__()
        self.widths, self.restarts = checked_sizes(sizes, restarts)
        generator = seeded_generator(seed, stream=0)
        causes = [*self.widths[1:], 0]
        self.generative = PyroModule[torch.nn.ModuleList](
            SequenceLayer(above, units, restarts=self.restarts, recurrent=level > 0, generator=generator)
            for level, (above, units) in enumerate(zip(causes, self.widths, strict=True))
        )

    def forward(self, observations: Any = None, *, num_data: int = 1, num_steps: int = 1) -> Tensor:
        """Run the program, top layer first, and return ``x``, ``[..., restarts, data, steps, units]``.

        Args:
            observations: ``x`` as ``[..., data, steps, units]``, NaN where missing, and ``length`` as ``[data]``;
                either may be left out.
            num_data: sequences to dream where nothing is observed.
            num_steps: their steps.

        Raises:
            TypeError: for observations that are no mapping of tensors.
            ValueError: for other names, another width, or a length that is none.

        """
        seen = checked_sequences(
            observations, self.widths[0], placement(self)["dtype"], num_data=num_data, num_steps=num_steps
        )
        with local_parameters():
            conditionals = [layer.conditional(seen.num_steps) for layer in self.generative]
        units: Tensor | None = None
        with layer_plates(self.restarts, seen.num_data):
            for name, conditional in reversed(list(zip(site_names(self.widths), conditionals, strict=True))):
                drive, before = conditional(units)
                if before is not None:
                    units = pyro.sample(name, ThroughTime(drive, before, seen.inside))
                else:
                    units = _visible(drive, seen.x, seen.inside)
        assert units is not None
        return units

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters."""
        return {"sizes": self.widths, "restarts": self.restarts}


def _visible(drive: Tensor, x: Tensor | None, inside: Tensor | None) -> Tensor:
    """The site ``x``, without the factors of what is missing or after the end."""
    layer = Bernoulli(logits=drive)
    mask = None if inside is None else inside[..., None].expand(*inside.shape, drive.shape[-1])
    if x is not None:
        known = ~x.isnan()
        mask = known if mask is None else mask & known
        x = torch.where(mask, x, 0.0)
    if mask is not None:
        layer = layer.expand(torch.broadcast_shapes(layer.batch_shape, mask.shape)).mask(mask)
    drawn: Tensor = pyro.sample("x", layer.to_event(2), obs=x)
    return drawn
