"""The generative half of a Helmholtz machine: a layered sigmoid, noisy-or or odds belief network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule, pyro_method
from torch import Tensor

from pyro_helm.layers import IMAGING, Imaging, LogProbs, local_parameters
from pyro_helm.layers.missing import has_missing, without_missing
from pyro_helm.programs.layered import (
    Observations,
    checked_observations,
    checked_sizes,
    layer_plates,
    seeded_generator,
    site_names,
)
from pyro_helm.runtime.arguments import flag, number
from pyro_helm.runtime.device import placement


class BeliefNetwork(PyroModule):  # type: ignore[misc]
    r"""Layered binary belief network, ``p(x, h) = p(hL) p(hL-1 | hL) ... p(x | h1)``.

    A Pyro model with one sample site per layer, ``hL`` first and ``x`` last. Units are independent given the layer
    above; how causes make probabilities is each layer's imaging model.

    Args:
        sizes: units per layer, bottom to top: ``(32, 24, 2)`` is 32 visible units, 24, then 2 on top.
        imaging: ``"sigmoid"``, ``"noisy_or"`` or ``"odds"``, one for all or one per layer, bottom to top.
        restarts: independent machines in one batch; R of them train as R separate machines would.
        fixed_leak: leak that is not learned, one for all or one per layer: a logit, a probability or odds, as the
            layer's imaging model has it; None for none.
        learned_leak: whether each layer has a learned leak (for a sigmoid, its bias).
        seed: seed of the initial values, which differ per restart; None takes torch's global generator.

    Raises:
        ValueError: for sizes, restarts, imaging models or leaks out of range, or of another number than the layers.

    Source: Dayan, Hinton, Neal & Zemel 1995, section 2, equations 3.3 to 3.5 and appendix A.

    >>> model = BeliefNetwork((32, 24, 2), imaging="odds", restarts=8, seed=0)
    >>> model().shape  # a dream: [restarts, data, units]
    torch.Size([8, 1, 32])
    """

    structure: ClassVar[Literal["generative", "recognition"]] = "generative"

    def __init__(
        self,
        sizes: Sequence[int],
        imaging: str | Sequence[str] = "sigmoid",
        *,
        restarts: int = 1,
        fixed_leak: float | Sequence[float | None] | None = None,
        learned_leak: bool | Sequence[bool] = True,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        sizes, restarts = checked_sizes(sizes, restarts)
        self.sizes = sizes
        self.restarts = restarts
        self.imaging: tuple[str, ...] = _per_layer("imaging", imaging, len(sizes))
        self.fixed_leak: tuple[float | None, ...] = _per_layer("fixed_leak", fixed_leak, len(sizes))
        self.learned_leak: tuple[bool, ...] = _per_layer("learned_leak", learned_leak, len(sizes))
        for leak in self.fixed_leak:
            if leak is not None:
                number("fixed_leak", leak)
        for learned in self.learned_leak:
            flag("learned_leak", learned)
        for name in self.imaging:
            if not isinstance(name, str) or name not in IMAGING:
                raise ValueError(f"imaging must be one of {', '.join(IMAGING)}; got {name!r}")
        generator = seeded_generator(seed, stream=0)
        self.generative = PyroModule[torch.nn.ModuleList](
            IMAGING[name](
                num_causes,
                num_units,
                restarts=restarts,
                fixed_leak=fixed,
                learned_leak=learned,
                generator=generator,
            )
            for name, num_causes, num_units, fixed, learned in zip(
                self.imaging, (*sizes[1:], 0), sizes, self.fixed_leak, self.learned_leak, strict=True
            )
        )

    def forward(self, observations: Observations | None = None, *, num_data: int = 1) -> Tensor:
        """Run the program, top layer first, and return the visible layer, with 0 where it is missing.

        It is ``[..., restarts, data, units]``, or ``[..., data, units]`` for a single restart.

        Args:
            observations: values ``[..., data, units]`` of any of the sites; the others are sampled. Units of ``x`` that
                are NaN are missing: their factors are left out.
            num_data: data to dream where nothing is observed.

        Raises:
            ValueError: for an unknown site or a wrong width.

        """
        observed = checked_observations(observations, self.sizes, placement(self)["dtype"])
        for value in observed.values():
            num_data = value.shape[-2]
        with local_parameters():
            conditionals = [layer.conditional() for layer in self.generative]
        units: Tensor | None = None
        with layer_plates(self.restarts, num_data):
            for name, conditional in zip(reversed(site_names(self.sizes)), reversed(conditionals), strict=True):
                layer: TorchDistribution = conditional(units)
                known = observed.get(name)
                if known is not None and name == "x" and has_missing(known):
                    layer, known = without_missing(layer, known)
                units = pyro.sample(name, layer, obs=known)
        assert units is not None
        return units

    @pyro_method  # type: ignore[untyped-decorator]
    def layer_log_probs(
        self, log_probs: Callable[[Imaging, Tensor], LogProbs], means: Sequence[Tensor]
    ) -> list[LogProbs]:
        """Log-probabilities of every layer's units where the layers above are uncertain, bottom to top, in nats.

        Args:
            log_probs: called with an imaging layer and the probabilities of its causes; a top layer has none, and its
                log-probabilities are certain.
            means: probabilities of the hidden layers' units, bottom to top, each ``[..., data, units]``.

        """
        *layers, top = self.generative
        with local_parameters():
            return [*(log_probs(layer, q) for layer, q in zip(layers, means, strict=True)), top.log_probs()]

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters."""
        return {
            "sizes": self.sizes,
            "imaging": self.imaging,
            "restarts": self.restarts,
            "fixed_leak": self.fixed_leak,
            "learned_leak": self.learned_leak,
        }


def _per_layer(name: str, value: Any, num_layers: int) -> tuple[Any, ...]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != num_layers:
            raise ValueError(f"{name} must be one value or {num_layers}, one per layer; got {len(value)}: {value!r}")
        return tuple(value)
    return (value,) * num_layers
