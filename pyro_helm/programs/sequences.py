"""What programs of sequences are shown: ``x`` at every step, and the ``length`` of each sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_helm.runtime.captured_graphs import is_capturing


class Sequences(NamedTuple):
    """Observed sequences.

    Attributes:
        x: ``[..., data, steps, units]``; None where nothing is observed.
        inside: ``[data, steps]``, whether a step is before the sequence's end; None where all are.
        num_data: how many sequences there are.
        num_steps: of the longest that there may be.

    """

    x: Tensor | None
    inside: Tensor | None
    num_data: int
    num_steps: int


def checked_sequences(
    observations: Any, width: int, dtype: torch.dtype, *, num_data: int = 1, num_steps: int = 1
) -> Sequences:
    """The observations of a program.

    Args:
        observations: ``x`` as ``[..., data, steps, units]`` and ``length`` as ``[..., data]``, either of which may be
            left out; None for none.
        width: units at each step.
        dtype: of the parameters.
        num_data: sequences where nothing is observed.
        num_steps: steps where ``x`` is not observed.

    Raises:
        TypeError: for observations that are no mapping of tensors.
        ValueError: for another name or shape, or a length that is none.

    """
    observations = {} if observations is None else observations
    if not isinstance(observations, Mapping) or not all(isinstance(value, Tensor) for value in observations.values()):
        raise TypeError(f'observations must be tensors by name, {{"x": ..., "length": ...}}, got {observations!r:.60}')
    if unknown := observations.keys() - {"x", "length"}:
        raise ValueError(f"sequences are observed as 'x' and 'length', got {', '.join(sorted(unknown))}")
    x, length = observations.get("x"), observations.get("length")
    if x is not None:
        if x.dim() < 3 or x.shape[-1] != width:
            raise ValueError(f"observations of 'x' must have shape [..., data, steps, {width}], got {list(x.shape)}")
        x = x.to(dtype)
        num_data, num_steps = x.shape[-3], x.shape[-2]
    if length is None:
        return Sequences(x, None, num_data, num_steps)
    steps = torch.arange(num_steps, device=length.device)
    if not is_capturing() and not bool(((length >= 0) & (length <= num_steps) & (length == length.round())).all()):
        raise ValueError(f"lengths must be whole numbers from 0 to the {num_steps} steps there are, got {length!r:.80}")
    return Sequences(x, steps < length[..., None], length.shape[-1], num_steps)
