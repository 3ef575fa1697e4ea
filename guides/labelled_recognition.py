"""A recognition network of labelled data: it names the class first, where that is not known, then the causes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pyro_helm.guides.bottom_up import BottomUp, layer_of
from pyro_helm.programs.classes import draw_class, known_apart, zero_
from pyro_helm.programs.labels import checked_condition
from pyro_helm.programs.layered import Observations


class LabelledRecognition(BottomUp):
    """Recognition network with a class, ``q(class, h | x) = q(class | x) q(h1 | x, class) q(h2 | h1, class) ...``.

    ``q(class | x)`` is the softmax of what is seen of ``x``, linear in it or in a trunk's features; where the
    observation ``label`` is not NaN, the class is that with certainty. The class drives every layer. Layers are
    factorial.

    Args:
        sizes: units per layer, bottom to top, as the model's.
        labels: how many classes there are, as the model's.
        restarts: independent machines in one batch, as the model's.
        seed: seed of the initial values, which differ per restart; None takes torch's global generator.
        missing: as for :class:`FactorialRecognition`.
        trunk: likewise.

    Raises:
        ValueError: as for :class:`FactorialRecognition`.

    >>> guide = LabelledRecognition((6, 4), labels=3, seed=0)
    >>> [h.shape for h in guide({"x": torch.zeros(2, 6), "label": torch.tensor([1.0, torch.nan])})]
    [torch.Size([2, 4])]
    """

    structure: ClassVar[Literal["generative", "recognition"]] = "recognition"

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        labels: int,
        restarts: int = 1,
        seed: int | None = None,
        missing: bool = False,
        trunk: torch.nn.Module | None = None,
    ) -> None:
        labels = checked_condition(labels) or 0
        super().__init__(sizes, restarts=restarts, seed=seed, missing=missing, trunk=trunk, condition=labels or None)
        if not labels:
            raise ValueError("labels must be a number of classes, two or more, got None")
        self.labels = labels
        seen, partly = self._first(missing)
        settings = {"restarts": self.restarts, "generator": torch.Generator()}
        self.classifier = layer_of(seen, labels, (labels,), partly, settings)
        zero_(self.classifier)

    def _label_apart(self, observations: Any, dtype: torch.dtype) -> tuple[Observations | None, Tensor | None]:
        return known_apart(observations, self.labels, dtype)

    def _labelled(self, label: Tensor | None) -> Callable[[Tensor], Tensor]:
        drive = self.classifier.driven()
        return lambda seen: draw_class(drive(seen), label)

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters and its trunk."""
        config: dict[str, Any] = super().config
        del config["condition"]
        return config | {"labels": self.labels}

    def learn_missing(self) -> None:
        """Learn weights of an indicator for each visible unit that may be missing, from 0 on, if it does not yet."""
        super().learn_missing()
        if self.trunk is None:
            self.classifier.learn_missing()
