from __future__ import annotations

import itertools
from collections import Counter

import pytest

from pyro_helm.data.shifter import SHIFTER_SHAPE, shifter_distribution


def test_there_are_508_patterns_of_32_pixels_with_entropy_4_579165_nats() -> None:
    distribution = shifter_distribution()
    assert distribution.patterns.shape == (508, 32)
    assert distribution.probabilities.shape == (508,)
    assert float(distribution.probabilities.sum()) == pytest.approx(1, abs=1e-12)
    assert distribution.entropy == pytest.approx(4.579165, abs=1e-6)


def test_every_probability_agrees_with_a_listing_pixel_by_pixel() -> None:
    expected: Counter[tuple[int, ...]] = Counter()
    for row in itertools.product([0, 1], repeat=8):
        for step in (-1, 1):
            shifted = tuple(row[(k - step) % 8] for k in range(8))
            expected[shifted * 2 + row * 2] += 0.5 * 0.2 ** sum(row) * 0.8 ** (8 - sum(row))  # type: ignore[assignment]
    distribution = shifter_distribution()
    listed = dict(zip(map(tuple, distribution.patterns.tolist()), distribution.probabilities.tolist(), strict=True))
    assert listed == pytest.approx(dict(expected), abs=1e-15)


def test_a_single_pixel_moves_by_one_with_wrap_around() -> None:
    original = [1, 0, 0, 0, 0, 0, 0, 0]
    images = [p.reshape(SHIFTER_SHAPE).tolist() for p in shifter_distribution().patterns]
    tops = [rows[0] for rows in images if rows[2] == original and rows[0] == rows[1] and rows[2] == rows[3]]
    assert sorted(tops) == [[0, 0, 0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0, 0]]
