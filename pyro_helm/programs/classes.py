"""Classes of data that are observed for some and latent for others: the observation ``label``, NaN where unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro.distributions import Categorical
from torch import Tensor

from pyro_helm.layers.partly_known import PartlyKnown
from pyro_helm.runtime.captured_graphs import is_capturing

SITE = "class"
"""The latent site, one-hot."""


def known_apart(
    observations: Any, num_labels: int, dtype: torch.dtype
) -> tuple[Mapping[str, Tensor] | None, Tensor | None]:
    """The other observations, and the label one-hot, NaN where it is not known, ``[..., data, labels]``; None for none.

    Args:
        observations: of a program; ``label`` as ``[..., data]``, of whole numbers from 0, NaN where unknown.
        num_labels: how many there are.
        dtype: of the parameters.

    Raises:
        ValueError: for a label that is no such number.

    """
    if not isinstance(observations, Mapping) or "label" not in observations:
        return observations, None
    label = observations["label"]
    if not isinstance(label, Tensor):
        raise TypeError(f"observations of 'label' must be a tensor, got {type(label).__name__}")
    one_hot = (label[..., None] == torch.arange(num_labels, device=label.device)).to(dtype)
    is_known = ~label.isnan()
    if not is_capturing() and bool((wrong := is_known & (one_hot.sum(-1) != 1)).any()):
        found = label.expand(wrong.shape)[wrong].flatten()[0].item()
        raise ValueError(f"labels must be whole numbers from 0 to {num_labels - 1}, NaN where unknown, got {found:g}")
    one_hot = torch.where(is_known[..., None], one_hot, torch.nan)
    return {name: value for name, value in observations.items() if name != "label"}, one_hot


def observe_label(logits: Tensor, known: Tensor) -> Tensor:
    """Observe the known classes as site ``label``; give it back one-hot ``[..., classes]``, NaN where unknown.

    In a sleep phase the site is dreamt.
    """
    is_known = ~known[..., 0].isnan()
    logits = logits.expand(torch.broadcast_shapes(logits.shape, known.shape))
    prior = Categorical(logits=logits, validate_args=False).mask(is_known)
    label = pyro.sample("label", prior, obs=known.nan_to_num(nan=0.0).argmax(-1))
    one_hot = (label[..., None] == torch.arange(known.shape[-1], device=known.device)).to(known)
    return torch.where(is_known[..., None], one_hot, torch.nan)


def draw_class(logits: Tensor, known: Tensor | None) -> Tensor:
    """The site ``class``: what is known, or a draw, ``[..., data, labels]``."""
    drawn: Tensor = pyro.sample(SITE, PartlyKnown(logits, known))
    return drawn


def zero_(module: torch.nn.Module) -> None:
    """Set all parameters to 0."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
