"""A recognition network whose units settle before they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_helm.guides.bottom_up import BottomUp, checked_damping
from pyro_helm.layers.imaging import of_units
from pyro_helm.programs.layered import site_names
from pyro_helm.runtime.arguments import at_least_one, number


class LateralRecognition(BottomUp):
    """Layered recognition network whose units settle before they are drawn.

    The units of a layer interact for a few iterations. With ``a`` the drive from the layer below, ``m`` settles and the
    units are factorial given where it ends:

        m <- (1 - d) m + d sigmoid(a + m lateral),    q(h | below) = prod_j Bernoulli(sigmoid(a + m lateral)_j)

    A unit can so be held down by another that explains the data, which a plain factorial guide can't do. Where the
    weights into each unit add up to less than 4 in size the iterations are a contraction and converge; elsewhere they
    are just so many steps, of which the gradient is exact all the same.

    Args:
        sizes: units per layer, bottom to top, as the model's.
        iterations: steps of ``m``, which begins at ``sigmoid(a)``.
        damping: d, above 0 and up to 1.
        amplitude: of the lateral weights at the start: excitation of near units and inhibition of those further away,
            on a ring; 0 for none.
        restarts: independent machines in one batch, as the model's.
        seed: seed of the initial values, which differ per restart; None takes torch's global generator.
        missing: as for :class:`FactorialRecognition`.
        trunk: likewise.
        condition: likewise.
        initial_bias: likewise.

    Raises:
        ValueError: for sizes, restarts, iterations or damping out of range.

    References:
        Dayan, Hinton, Neal & Zemel 1995, `The Helmholtz machine <https://doi.org/10.1162/neco.1995.7.5.889>`__, section
        5.

    >>> guide = LateralRecognition((32, 24, 2), iterations=3, restarts=8, seed=0)
    >>> [h.shape for h in guide({"x": torch.zeros(100, 32)})]  # h1, h2: [restarts, data, units]
    [torch.Size([8, 100, 24]), torch.Size([8, 100, 2])]
    """

    structure: ClassVar[Literal["generative", "recognition"]] = "recognition"

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        iterations: int = 3,
        damping: float = 0.5,
        amplitude: float = 0.1,
        restarts: int = 1,
        seed: int | None = None,
        missing: bool = False,
        trunk: torch.nn.Module | None = None,
        condition: int | None = None,
        initial_bias: float | Sequence[float | None] | None = None,
    ) -> None:
        super().__init__(
            sizes,
            restarts=restarts,
            seed=seed,
            missing=missing,
            trunk=trunk,
            condition=condition,
            initial_bias=initial_bias,
        )
        self.iterations = at_least_one("iterations", iterations)
        self.damping = checked_damping(damping)
        self.amplitude = number("amplitude", amplitude)
        for name, size in zip(site_names(self.sizes)[1:], self.sizes[1:], strict=True):
            weight = self.amplitude * _near_less_far(size).expand(self.restarts, size, size).clone()
            self.register_parameter(f"lateral_{name}", nn.Parameter(weight))

    def lateral_weights(self) -> list[Tensor]:
        """Of each hidden layer, ``[restarts, units, units]``; no unit drives itself."""
        weights = [getattr(self, f"lateral_{name}") for name in site_names(self.sizes)[1:]]
        return [weight - torch.diag_embed(weight.diagonal(dim1=-2, dim2=-1)) for weight in weights]

    def _conditionals(self) -> list[Callable[[Tensor | None], TorchDistribution]]:
        driven = [layer.driven() for layer in self.recognition]
        lateral = map(of_units, self.lateral_weights())
        return [self._settling(*parts) for parts in zip(self.recognition, driven, lateral, strict=True)]

    def _settling(
        self, layer: nn.Module, driven: Callable[[Tensor | None], Tensor], lateral: Tensor
    ) -> Callable[[Tensor | None], TorchDistribution]:
        def settled(causes: Tensor | None) -> TorchDistribution:
            drive = driven(causes)
            means = torch.sigmoid(drive)
            for _ in range(self.iterations):
                means = torch.lerp(means, torch.sigmoid(drive + means @ lateral), self.damping)
            units: TorchDistribution = layer.distribution(drive + means @ lateral)  # type: ignore[operator]
            return units.to_event(1)

        return settled

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters and its trunk."""
        own = {"iterations": self.iterations, "damping": self.damping, "amplitude": self.amplitude}
        return super().config | own


def _near_less_far(size: int) -> Tensor:
    """From 1 for neighbours on a ring to -1 for units across it, ``[units, units]``."""
    place = torch.arange(size)
    distance = (place[:, None] - place).abs()
    around = torch.minimum(distance, size - distance) / max(1, size)
    return torch.cos(2 * torch.pi * around)
