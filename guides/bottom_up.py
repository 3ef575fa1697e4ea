"""What recognition networks share: layers drawn bottom up, each from the one below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor

from pyro_helm.guides.trunk import Trunk
from pyro_helm.layers import Categorical, Imaging, Sigmoid, local_parameters
from pyro_helm.layers.categorical import group_sizes
from pyro_helm.layers.initial_leaks import begin_leaks
from pyro_helm.layers.missing import PartlySeen, PartlySeenGroups
from pyro_helm.programs.labels import checked_condition, label_apart, side_by_side
from pyro_helm.programs.layered import (
    Observations,
    checked_observations,
    checked_sizes,
    layer_plates,
    seeded_generator,
    shown_sizes,
    site_names,
)
from pyro_helm.runtime.arguments import flag, number
from pyro_helm.runtime.device import placement


class BottomUp(PyroModule):  # type: ignore[misc]
    """A recognition network, ``q(h | x) = q(h1 | x) q(h2 | h1) ... q(hL | hL-1)``, of sigmoid layers.

    Arguments are those of :class:`~pyro_helm.guides.FactorialRecognition`.
    """

    extra_repr = shown_sizes

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        restarts: int = 1,
        seed: int | None = None,
        missing: bool = False,
        trunk: torch.nn.Module | None = None,
        condition: int | None = None,
        groups: Mapping[str, int | Sequence[int]] | None = None,
        initial_bias: float | Sequence[float | None] | None = None,
    ) -> None:
        super().__init__()
        sizes, restarts = checked_sizes(sizes, restarts)
        self.sizes = sizes
        self.restarts = restarts
        generator = seeded_generator(seed, stream=1)
        settings: dict[str, Any] = {"restarts": restarts, "generator": generator}
        self.condition = checked_condition(condition)
        labels = self.condition or 0
        (visible, lowest), *layers = pairwise(sizes)
        self.trunk = None if trunk is None else Trunk(trunk, visible, restarts=restarts, seed=seed)
        self.groups = _checked_groups(groups, sizes)
        seen, partly = self._first(missing)
        self.recognition = PyroModule[torch.nn.ModuleList](
            [
                layer_of(seen + labels, lowest, self.groups.get("h1"), partly, settings),
                *(
                    layer_of(below + labels, above, self.groups.get(name), None, settings)
                    for name, (below, above) in zip(site_names(sizes)[2:], layers, strict=True)
                ),
            ]
        )
        begin_leaks(self.recognition, initial_bias, name="initial_bias")

    def forward(self, observations: Observations | None = None) -> list[Tensor]:
        """Run the program, bottom layer first, and return the hidden layers.

        Each is ``[..., restarts, data, units]``, or ``[..., data, units]`` for a single restart.

        Args:
            observations: ``{"x": values}`` with values ``[..., data, units]``, NaN where missing, and values of hidden
                layers if the model is shown them too; those are not sampled. With a condition also ``label``.

        Raises:
            ValueError: for a missing ``x`` or label, an unknown site or a wrong width, or a label out of range.

        """
        observed, label = self._checked(observations)
        with local_parameters():
            conditionals = self._conditionals()
            labelled = self._labelled(label)
        units = self._seen(observed["x"])
        hidden = []
        with layer_plates(self.restarts, units.shape[-2]):
            known_to_all = [drawn for drawn in [labelled(units)] if drawn is not None]
            for name, conditional in zip(site_names(self.sizes)[1:], conditionals, strict=True):
                if name in observed:
                    units = observed[name]
                else:
                    units = pyro.sample(name, conditional(side_by_side([units, *known_to_all])))
                hidden.append(units)
        return hidden

    def _conditionals(self) -> list[Callable[[Tensor | None], TorchDistribution]]:
        """Read the parameters now; give the function of each layer from its causes to its distribution."""
        return [layer.conditional() for layer in self.recognition]

    def _seen(self, x: Tensor) -> Tensor:
        """What the first layer sees of the data."""
        return x if self.trunk is None else self.trunk(x)

    def _first(self, missing: bool) -> tuple[int, dict[str, bool] | None]:
        """How many causes the first layer sees of the data, and its settings if some of them may be missing."""
        if self.trunk is not None:
            return self.trunk.num_features, None
        return self.sizes[0], {"missing": flag("missing", missing)}

    def _label_apart(self, observations: Any, dtype: torch.dtype) -> tuple[Observations | None, Tensor | None]:
        return label_apart(observations, self.condition, dtype)

    def _labelled(self, label: Tensor | None) -> Callable[[Tensor], Tensor | None]:
        """Read the parameters now; give the function from what is seen to what drives all layers, in the plates."""
        return lambda seen: label

    def _checked(self, observations: Observations | None) -> tuple[dict[str, Tensor], Tensor | None]:
        """Observations of sites, and the label, if there is one, one-hot."""
        if observations is None or (isinstance(observations, Mapping) and "x" not in observations):
            raise ValueError('a recognition network needs data to recognise: call it with observations={"x": values}')
        dtype = placement(self)["dtype"]
        given, label = self._label_apart(observations, dtype)
        return checked_observations(given, self.sizes, dtype), label

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters and its trunk."""
        config: dict[str, object] = {"sizes": self.sizes, "restarts": self.restarts}
        config |= {} if self.condition is None else {"condition": self.condition}
        config |= {"groups": self.groups} if self.groups else {}
        if self.trunk is not None:
            return config | {"trunk": self.trunk.name}
        return config | {"missing": True} if self.recognition[0].learns_missing else config

    def learn_missing(self) -> None:
        """Learn weights of an indicator for each visible unit that may be missing, from 0 on, if it does not yet.

        A trunk is shown 1/2 in the place of what is missing, and nothing else.
        """
        if self.trunk is None:
            self.recognition[0].learn_missing()


def layer_of(
    num_causes: int,
    num_units: int,
    groups: tuple[int, ...] | None,
    partly: dict[str, bool] | None,
    settings: dict[str, Any],
) -> Imaging:
    """A layer of binary units or of groups, which sees what is missing where ``partly`` has settings for that."""
    if groups is not None:
        kind: Any = Categorical if partly is None else PartlySeenGroups
        settings = settings | {"groups": groups}
    else:
        kind = Sigmoid if partly is None else PartlySeen
    layer: Imaging = kind(num_causes, num_units, **(partly or {}), **settings)
    return layer


def checked_damping(damping: Any) -> float:
    """How far an iteration goes towards its next means, as Python's number; ValueError unless above 0 and up to 1."""
    found = number("damping", damping)
    if not 0 < found <= 1:
        raise ValueError(f"damping must be above 0 and at most 1, got {damping}")
    return found


def _checked_groups(groups: Any, sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Groups of hidden layers by site; those of ``x``, which are the model's alone, are left aside."""
    if groups is None:
        return {}
    names = site_names(sizes)
    if not isinstance(groups, Mapping) or not set(groups) <= set(names):
        sites = ", ".join(names[1:])
        raise ValueError(f"groups must be sizes by hidden site ({sites}), such as {{'h1': 3}}; got {groups!r}")
    return {name: group_sizes(groups[name], sizes[names.index(name)]) for name in names[1:] if name in groups}
