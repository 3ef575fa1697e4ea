"""A misspelt name is answered by the one that is meant."""

from __future__ import annotations

import pytest

from pyro_helm.runtime.suggestions import unknown


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("odd", "unknown rule 'odd'; did you mean odds? Known are noisy_or, odds"),
        ("Noisy-OR", "unknown rule 'Noisy-OR'; did you mean noisy_or? Known are noisy_or, odds"),
        ("tanh", "unknown rule 'tanh'; known are noisy_or, odds"),
        ("x" * 100, f"unknown rule '{'x' * 60}...'; known are noisy_or, odds"),
    ],
)
def test_what_may_be_meant_is_said(name: str, sentence: str) -> None:
    assert unknown("rule", name, ["noisy_or", "odds"]) == sentence
