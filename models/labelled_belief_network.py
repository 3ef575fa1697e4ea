"""A belief network of labelled data: the class on top of all layers, observed for some data and latent for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pyro_helm.layers import Categorical
from pyro_helm.layers.imaging import of_units
from pyro_helm.models.belief_network import BeliefNetwork
from pyro_helm.programs.classes import draw_class, known_apart, observe_label, zero_
from pyro_helm.programs.labels import checked_condition
from pyro_helm.programs.layered import Observations


class LabelledBeliefNetwork(BeliefNetwork):
    """Belief network with a class on top, ``p(x, h, class) = p(class) p(hL | class) ... p(x | h1, class)``.

    The class drives every layer. It is the latent site ``class``, one-hot, and certain where the observation ``label``
    says what it is: whole numbers from 0, NaN where unknown. Rows with a label count for ``log p(x, label)``, others
    for ``log p(x)``, so that learning is semi-supervised.

    Args:
        sizes: units per layer, bottom to top, as for :class:`BeliefNetwork`.
        labels: how many classes there are.
        settings: others of :class:`BeliefNetwork`.

    Raises:
        ValueError: as for :class:`BeliefNetwork`.

    References:
        Kingma, Rezende, Mohamed & Welling 2014, `Semi-supervised learning with deep generative models
        <https://arxiv.org/abs/1406.5298>`__ (model M2), here with layers of discrete units.

    >>> model = LabelledBeliefNetwork((6, 4), labels=3, seed=0)
    >>> model({"label": torch.tensor([0.0, 2.0, torch.nan])}).shape  # dreams: two of a class, one of any
    torch.Size([3, 6])
    """

    structure: ClassVar[Literal["generative", "recognition"]] = "generative"

    def __init__(self, sizes: Sequence[int], *, labels: int, seed: int | None = None, **settings: Any) -> None:
        labels = _checked_labels(labels)
        super().__init__(sizes, condition=labels, seed=seed, **settings)
        self.labels = labels
        self.class_prior = Categorical(0, labels, groups=(labels,), restarts=self.restarts, generator=torch.Generator())
        zero_(self.class_prior)  # all classes as probable

    def _label_apart(self, observations: Any, dtype: torch.dtype) -> tuple[Observations | None, Tensor | None]:
        return known_apart(observations, self.labels, dtype)

    def _labelled(self, label: Tensor | None) -> Callable[[], Tensor]:
        logits = of_units(self.class_prior.leak)
        return lambda: draw_class(logits, None if label is None else observe_label(logits, label))

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters."""
        config = super().config
        del config["condition"]
        return config | {"labels": self.labels}


def _checked_labels(labels: Any) -> int:
    if labels is None:
        raise ValueError("labels must be a number of classes, two or more, got None")
    checked = checked_condition(labels)
    assert checked is not None
    return checked
