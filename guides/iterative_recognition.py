"""A recognition network in which predictions from above and evidence from below settle before units are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_helm.guides.bottom_up import BottomUp, checked_damping
from pyro_helm.layers.imaging import of_units
from pyro_helm.layers.missing import has_missing
from pyro_helm.programs.layered import site_names
from pyro_helm.runtime.arguments import at_least_one


class IterativeRecognition(BottomUp):
    """Layered recognition network in which top-down and bottom-up drives meet for a few damped iterations.

    Each layer predicts the one below from its means ``m``, and is driven by what is below, by the error of its
    prediction, and by the prediction of the layer above:

        p_l-1 = sigmoid(m_l psi_l + c_l-1)
        a_l   = s_l-1 phi_l + b_l + (s_l-1 - p_l-1) psi_l' + m_l+1 psi_l+1 + c_l
        m_l  <- (1 - d) m_l + d sigmoid(a_l)

    Then ``h1`` is drawn from ``Bernoulli(sigmoid(a_1))``; the layers above settle again given that draw, and so on up:
    ``q(h | x) = q(h1 | x) q(h2 | h1) ...``, factorial in each layer. A cause that has explained the data leaves no
    error for others. It begins as the :class:`FactorialRecognition` of its seed, with ``psi`` and ``c`` at 0.

    The iterations converge where :meth:`gain` is below 1; elsewhere they are just so many steps, of which the gradient
    is exact all the same.

    Args:
        sizes: units per layer, bottom to top, as the model's.
        iterations: steps of ``m``, which begins where a pass from the bottom up, without predictions, leads.
        damping: d, above 0 and up to 1.
        restarts: independent machines in one batch, as the model's.
        seed: seed of the initial values, which differ per restart; None takes torch's global generator.
        missing: as for :class:`FactorialRecognition`; what is missing has no error.
        condition: likewise.

    Raises:
        ValueError: for sizes, restarts, iterations or damping out of range.

    References:
        Dayan, Hinton, Neal & Zemel 1995, `The Helmholtz machine <https://doi.org/10.1162/neco.1995.7.5.889>`__, section
        5; for errors of prediction Rao & Ballard 1999, `Predictive coding in the visual cortex
        <https://doi.org/10.1038/4580>`__.

    >>> guide = IterativeRecognition((32, 24, 2), iterations=3, restarts=8, seed=0)
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
        restarts: int = 1,
        seed: int | None = None,
        missing: bool = False,
        condition: int | None = None,
    ) -> None:
        super().__init__(sizes, restarts=restarts, seed=seed, missing=missing, condition=condition)
        self.iterations = at_least_one("iterations", iterations)
        self.damping = checked_damping(damping)
        for (lower, below), (name, size) in pairwise(zip(site_names(self.sizes), self.sizes, strict=True)):
            self.register_parameter(f"prediction_{name}", nn.Parameter(torch.zeros(self.restarts, size, below)))
            self.register_parameter(f"predicted_leak_{lower}", nn.Parameter(torch.zeros(self.restarts, 1, below)))

    def predictions(self) -> list[tuple[Tensor, Tensor]]:
        """Of each hidden layer ``psi``, ``[restarts, units, below]``, and ``c``, ``[restarts, 1, below]``."""
        return [
            (getattr(self, f"prediction_{name}"), getattr(self, f"predicted_leak_{lower}"))
            for lower, name in pairwise(site_names(self.sizes))
        ]

    def gain(self) -> Tensor:
        """By how much a step without damping may enlarge a difference of means, at most, ``[restarts]``.

        The largest, over units, of a quarter of the sizes of all weights through which means reach the unit. Below 1
        the map is a contraction, with or without damping, so that the iterations converge to one end wherever they
        begin.
        """
        psi = [weight for weight, _ in self.predictions()]
        gains = []
        for level, weight in enumerate(psi):
            size = weight.abs()
            # its own layer's means, through the prediction of the layer below
            reach = (size @ size.mT / 4).sum(-2)
            if level:
                phi = self.recognition[level].weight[:, : weight.shape[-1]]
                reach = reach + (phi + weight.mT).abs().sum(-2)
            if level + 1 < len(psi):
                reach = reach + psi[level + 1].abs().sum(-2)
            gains.append(reach.amax(-1) / 4)
        return torch.stack(gains).amax(0).detach()

    def _conditionals(self) -> list[Callable[[Tensor | None], TorchDistribution]]:
        predictions = [(of_units(weight), leak) for weight, leak in self.predictions()]
        layers = [
            _Layer(layer.driven(), weight, leak)
            for layer, (weight, leak) in zip(self.recognition, predictions, strict=True)
        ]
        return [self._settling(level, layers[level:]) for level in range(len(layers))]

    def _settling(self, level: int, layers: list[_Layer]) -> Callable[[Tensor | None], TorchDistribution]:
        def settled(causes: Tensor | None) -> TorchDistribution:
            assert causes is not None
            drive = _settle(layers, causes, self.iterations, self.damping)
            units: TorchDistribution = self.recognition[level].distribution(drive)
            return units.to_event(1)

        return settled

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters."""
        return super().config | {"iterations": self.iterations, "damping": self.damping}


class _Layer(NamedTuple):
    """What a hidden layer sees of the one below, and what it predicts of it."""

    driven: Callable[[Tensor | None], Tensor]
    weight: Tensor
    leak: Tensor

    def predicted(self, means: Tensor) -> Tensor:
        """The drive of the layer below."""
        return means @ self.weight + of_units(self.leak)

    def drive(self, causes: Tensor, means: Tensor) -> Tensor:
        """By what is below, and by how far that is from what was predicted."""
        below = causes[..., : self.weight.shape[-1]]
        error = below - torch.sigmoid(self.predicted(means))
        if has_missing(below):
            error = torch.where(below.isnan(), 0.0, error)
        return self.driven(causes) + error @ self.weight.mT


def _settle(layers: list[_Layer], causes: Tensor, iterations: int, damping: float) -> Tensor:
    """The drive of the lowest of the layers, given the units below it, after all have settled."""
    labels = causes[..., layers[0].weight.shape[-1] :]
    means: list[Tensor] = []
    seen = causes
    for layer in layers:
        means.append(torch.sigmoid(layer.driven(seen)))
        seen = _with(means[-1], labels)

    def drive(level: int) -> Tensor:
        below = causes if level == 0 else _with(means[level - 1], labels)
        found = layers[level].drive(below, means[level])
        return found if level + 1 == len(layers) else found + layers[level + 1].predicted(means[level + 1])

    for _ in range(iterations):
        drives = [drive(level) for level in range(len(layers))]
        means = [torch.lerp(mean, torch.sigmoid(a), damping) for mean, a in zip(means, drives, strict=True)]
    return drive(0)


def _with(means: Tensor, labels: Tensor) -> Tensor:
    if not labels.shape[-1]:
        return means
    return torch.cat([means, labels.expand(*means.shape[:-1], labels.shape[-1])], -1)
