"""The bars problem of Földiák (1990): pictures made of independent horizontal and vertical bars."""

from __future__ import annotations

import torch

from pyro_helm.data.patterns import PatternDistribution, merge_equal

__all__ = ["bars_distribution"]


def bars_distribution(size: int = 4) -> PatternDistribution:
    """List the bars problem: (2^size - 1)^2 + 1 patterns of size by size pixels.

    Each of the size rows and size columns is a bar, on with probability 1/size independently of the
    others; a pixel is on if its row or its column is. So two bars are on on average, as in Földiák's
    8 by 8 pictures with probability 1/8. A picture is full if all rows are on or all columns are, and
    shows its bars uniquely otherwise.

    Args:
        size: pixels along each side, 1 to 8 (4^size causes are listed).

    Raises:
        ValueError: for any other size.

    References:
        Földiák 1990, Biological Cybernetics 64, 165-170. Dayan & Zemel 1995, Neural Computation 7, 565-579, and Saund
        1995, Neural Computation 7, 51-71, take the problem up for multiple causes.

    Example:
        >>> bars_distribution().patterns.shape
        torch.Size([226, 16])

    """
    if not 1 <= size <= 8:
        raise ValueError(f"size is {size}, expected 1 to 8")
    bits = torch.tensor([0, 1], dtype=torch.uint8)
    bars = torch.cartesian_prod(*[bits] * 2 * size)  # [4^size, 2 size]: rows, then columns
    rows, columns = bars[:, :size, None], bars[:, None, size:]
    num_on = bars.sum(1).to(torch.float64)
    probability = (1 / size) ** num_on * (1 - 1 / size) ** (2 * size - num_on)
    return merge_equal((rows | columns).flatten(1), probability)
