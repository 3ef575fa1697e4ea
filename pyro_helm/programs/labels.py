"""The label that a layered program may be conditioned on: a whole number for each datum, the observation ``label``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_helm.runtime.arguments import is_whole
from pyro_helm.runtime.captured_graphs import is_capturing


def checked_condition(condition: Any) -> int | None:
    """The number of labels, as Python's; ValueError unless it is a whole number of two or more, or None."""
    if condition is not None and (not is_whole(condition) or condition < 2):
        raise ValueError(f"condition must be a number of labels, two or more, or None; got {condition!r}")
    return None if condition is None else int(condition)


def label_apart(
    observations: Any, condition: int | None, dtype: torch.dtype
) -> tuple[Mapping[str, Tensor] | None, Tensor | None]:
    """The other observations, and the label one-hot, ``[..., data, labels]``; None without a condition.

    Args:
        observations: of a program, ``label`` as ``[..., data]``.
        condition: number of labels; None for a program without.
        dtype: of the parameters.

    Raises:
        ValueError: for a label that is missing, or other than ``0, 1, ..., condition - 1``.

    """
    if condition is None:
        return observations, None
    if not isinstance(observations, Mapping) or not isinstance(observations.get("label"), Tensor):
        raise ValueError(
            f"the program is conditioned on one of {condition} labels; give it the observation "
            '"label", a tensor [data] of whole numbers from 0'
        )
    label = observations["label"]
    one_hot = (label[..., None] == torch.arange(condition, device=label.device)).to(dtype)
    if not is_capturing() and not bool((one_hot.sum(-1) == 1).all()):
        wrong = label[one_hot.sum(-1) != 1].flatten()[0].item()
        raise ValueError(f"labels must be whole numbers from 0 to {condition - 1}, got {wrong:g}")
    return {name: value for name, value in observations.items() if name != "label"}, one_hot


def side_by_side(causes: Sequence[Tensor]) -> Tensor | None:
    """Units of several layers, and a label, as the causes of one, ``[..., units of all]``; None for none."""
    if len(causes) < 2:
        return causes[0] if causes else None
    leading = torch.broadcast_shapes(*(units.shape[:-1] for units in causes))
    return torch.cat([units.expand(*leading, units.shape[-1]) for units in causes], -1)
