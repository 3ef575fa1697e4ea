"""What a training needs at least is told before memory is taken for it."""

from __future__ import annotations

from typing import Any

import pytest

from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime import budget


def test_weights_are_those_of_the_networks() -> None:
    sizes = (6, 4, 3)
    for network in (BeliefNetwork(sizes, restarts=2, seed=0), FactorialRecognition(sizes, restarts=2, seed=0)):
        weights = [value.numel() for name, value in network.named_parameters() if "weight" in name]
        assert budget.num_weights(sizes, restarts=2) == sum(weights)


def test_a_training_is_refused_where_less_is_free_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2 networks, 5 copies of 8 * (32 * 24 + 24 * 2) numbers; 2 copies of 5 * 8 * 100 * 58 draws; 4 bytes each
    needed = 2 * 5 * 6528 * 4 + 2 * 5 * 8 * 100 * 58 * 4
    settings: dict[str, Any] = {"restarts": 8, "particles": 5, "rows": 100}
    monkeypatch.setattr(budget, "free_bytes", lambda device: needed)
    budget.check_training_fits((32, 24, 2), **settings)
    monkeypatch.setattr(budget, "free_bytes", lambda device: needed - 1)
    sentence = (
        r"^training 32-24-2 with 8 restarts, 5 particles and 100 data in a step takes at least 2\.0 MiB of memory "
        r"\(255\.0 KiB for parameters and 1\.8 MiB for draws\), but 2\.0 MiB are free$"
    )
    with pytest.raises(ValueError, match=sentence):
        budget.check_training_fits((32, 24, 2), **settings)
    monkeypatch.setattr(budget, "free_bytes", lambda device: None)  # where a system does not say
    budget.check_training_fits((32, 24, 2), **settings)


def test_memory_that_is_free_is_found_here() -> None:
    free = budget.free_bytes()
    assert free is None or free > 2**20


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [(0, "0.0 B"), (1023, "1023.0 B"), (1024, "1.0 KiB"), (3 * 2**39, "1.5 TiB"), (10**400, "more than 1024 EiB")],
)
def test_bytes_are_told_in_a_unit_that_suits_them(num_bytes: int, words: str) -> None:
    assert budget.in_words(num_bytes) == words
