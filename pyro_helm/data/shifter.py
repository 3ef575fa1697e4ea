"""The shifter of Fig. 1 of Dayan, Hinton, Neal & Zemel (1995): a row of pixels, shifted left or right."""

from __future__ import annotations

import torch

from pyro_helm.data.patterns import PatternDistribution, merge_equal

__all__ = ["SHIFTER_SHAPE", "shifter_distribution"]

SHIFTER_SHAPE = (4, 8)
_ON_PROBABILITY = 0.2


def shifter_distribution() -> PatternDistribution:
    """List the shifter: 508 patterns of 4 rows of 8 pixels, entropy 4.579165 nats.

    Each of 8 pixels is on with probability 0.2; they are shifted left or right, with equal probability,
    by one pixel with wrap-around. The top two rows show the shifted pixels twice, the bottom two the
    original twice. Of 2^8 * 2 causes, four pairs make equal pictures (all off, all on, the two
    alternating rows), which leaves 508.

    References:
        Dayan, Hinton, Neal & Zemel 1995, `The Helmholtz machine <https://doi.org/10.1162/neco.1995.7.5.889>`__, Fig. 1.

    Example:
        >>> len(shifter_distribution().patterns)
        508

    """
    bits = torch.tensor([0, 1], dtype=torch.uint8)
    original = torch.cartesian_prod(*[bits] * SHIFTER_SHAPE[1])  # [256, 8]
    num_on = original.sum(1).to(torch.float64)
    probability = _ON_PROBABILITY**num_on * (1 - _ON_PROBABILITY) ** (SHIFTER_SHAPE[1] - num_on)
    images = [
        torch.cat([shifted, shifted, original, original], dim=1)
        for shifted in (original.roll(-1, dims=1), original.roll(1, dims=1))
    ]
    return merge_equal(torch.cat(images), torch.cat([probability, probability]) / 2)
