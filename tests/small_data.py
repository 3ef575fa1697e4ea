"""The first rows of a data set, for what is shown to work and not how well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyro_helm import Data, PatternDistribution


def first_rows(data: Data) -> Data:
    """300 rows to train on, 50 to validate and 50 to test on, and 50 patterns of an exact distribution."""
    few: dict[str, Any] = {"train": data.train[:300], "valid": data.valid[:50], "test": data.test[:50]}
    if (whole := data.distribution) is not None:
        share = whole.probabilities[:50]
        few["distribution"] = PatternDistribution(whole.patterns[:50], share / share.sum())
    return replace(data, **few)
