"""A distribution over binary patterns that is known exactly, because all its patterns can be listed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pyro_helm.runtime.shown import Card, Shown

__all__ = ["PatternDistribution", "draw", "merge_equal"]


@dataclass(frozen=True, eq=False, repr=False)  # eq: comparing tensors gives no single truth value
class PatternDistribution(Shown):
    """Every pattern that can occur, once, with its probability.

    Attributes:
        patterns: [states, units], values 0 and 1, no two rows equal.
        probabilities: [states], float64, positive, sum 1.

    Example:
        >>> coin = PatternDistribution(torch.tensor([[0.0], [1.0]]), torch.tensor([0.5, 0.5], dtype=torch.float64))
        >>> round(coin.entropy, 6)
        0.693147

    """

    patterns: torch.Tensor
    probabilities: torch.Tensor

    @property
    def entropy(self) -> float:
        """-sum_x p(x) log p(x) in nats: minus the best expected log-likelihood any model can have."""
        return float(torch.special.entr(self.probabilities).sum())

    def _card(self) -> Card:
        states, units = self.patterns.shape
        return Card(f"PatternDistribution: {states} patterns of {units} units, entropy {self.entropy:.3f} nats")


def merge_equal(patterns: torch.Tensor, probabilities: torch.Tensor) -> PatternDistribution:
    """Add up the probabilities of equal patterns; the result is in lexicographic order.

    Different causes can make one picture (all rows, or all columns: the image is full either way), and
    the entropy of the pictures is that of the merged distribution.

    Args:
        patterns: [causes, units], values 0 and 1, repeats allowed.
        probabilities: [causes], sum 1.

    """
    distinct, state = torch.unique(patterns, dim=0, return_inverse=True)
    total = torch.zeros(len(distinct), dtype=torch.float64)
    return PatternDistribution(distinct, total.index_add(0, state, probabilities.to(torch.float64)))


def draw(distribution: PatternDistribution, num_samples: int, *, seed: int) -> torch.Tensor:
    """Draw [num_samples, units] patterns independently; the same seed gives the same draws."""
    # numpy's generators promise the same stream on every platform, torch's do not.
    uniform = np.random.default_rng(seed).random(num_samples)
    cumulative = distribution.probabilities.cumsum(0)
    # cumulative[-1] can end a rounding error below 1, hence the clamp to the last state.
    state = torch.searchsorted(cumulative, torch.from_numpy(uniform), right=True)
    return distribution.patterns[state.clamp(max=len(cumulative) - 1)]
