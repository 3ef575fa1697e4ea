"""Classes that are known for some data and latent for others: a certain draw where they are known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_helm.layers.one_hot_groups import OneHotGroups


class PartlyKnown(OneHotGroups):
    """One of several classes, one-hot: the known one with probability 1, or ``softmax(logits)`` where it is not known.

    Args:
        logits: ``[..., classes]``, up to a constant.
        known: ``[..., classes]``, one-hot where the class is known, NaN where it is not; None where none is.
        validate_args: whether to check values; Pyro's setting if None.

    >>> known = torch.tensor([[0.0, 1.0], [torch.nan, torch.nan]])
    >>> PartlyKnown(torch.zeros(2, 2), known).log_prob(torch.tensor([0.0, 1.0]))
    tensor([ 0.0000, -0.6931])
    """

    def __init__(self, logits: Tensor, known: Tensor | None = None, *, validate_args: bool | None = None) -> None:
        self.known = known
        if known is not None:
            logits = logits.expand(torch.broadcast_shapes(logits.shape, known.shape))
        super().__init__(logits, logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PartlyKnown:
        """The same distribution with a larger batch shape; no parameter is written out."""
        return PartlyKnown(
            self.logits.expand(*batch_shape, self.logits.shape[-1]), known=self.known, validate_args=False
        )

    @property
    def mean(self) -> Tensor:
        """Probability of each class, ``[..., classes]``."""
        probs = super().mean
        return probs if self.known is None else torch.where(self.known.isnan(), probs, self.known)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats, ``[...]``; minus infinity for another class than the known one."""
        log_prob = super().log_prob(value)
        if self.known is None:
            return log_prob
        certain = torch.where((value == self.known).all(-1), 0.0, -torch.inf).to(log_prob)
        return torch.where(self.known[..., 0].isnan(), log_prob, certain)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """``[*sample_shape, *batch_shape, classes]``, one-hot."""
        drawn = super().sample(sample_shape)
        return drawn if self.known is None else torch.where(self.known.isnan(), drawn, self.known)
