from __future__ import annotations

import itertools
from collections import defaultdict

import pytest

from pyro_helm.data.bars import bars_distribution


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_probability_agrees_with_a_listing_bar_by_bar(size: int) -> None:
    expected: dict[tuple[int, ...], float] = defaultdict(float)
    for bars in itertools.product([0, 1], repeat=2 * size):
        image = tuple(int(bars[i] or bars[size + j]) for i in range(size) for j in range(size))
        expected[image] += (1 / size) ** sum(bars) * (1 - 1 / size) ** (2 * size - sum(bars))
    distribution = bars_distribution(size)
    listed = dict(zip(map(tuple, distribution.patterns.tolist()), distribution.probabilities.tolist(), strict=True))
    assert listed == pytest.approx(dict(expected), abs=1e-15)


@pytest.mark.parametrize("size", [2, 4, 5])
def test_a_picture_shows_its_bars_unless_it_is_full(size: int) -> None:
    distribution = bars_distribution(size)
    assert distribution.patterns.shape == ((2**size - 1) ** 2 + 1, size**2)
    assert float(distribution.probabilities.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("size", [0, 9])
def test_sizes_that_cannot_be_listed_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"^size is {size}, expected 1 to 8$"):
        bars_distribution(size)
