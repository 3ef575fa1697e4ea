"""Words about estimates: silent where they are good, specific where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from pyro_helm.likelihoods.reliability import warning

GOOD = {name: np.full(100, value) for name, value in (("log_likelihood", -3.0), ("bound_half", -3.01), ("ess", 500.0))}
GOOD |= {"khat": np.full(100, 0.2), "stderr": np.full(100, 0.05)}


def with_bad(name: str, value: float, count: int = 10) -> dict[str, np.ndarray]:
    return GOOD | {name: np.where(np.arange(100) < count, value, GOOD[name])}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (with_bad("ess", 4.0), "10 of 100 data have an effective sample size below 10 of 1000: the log-likelihood is"),
        (
            with_bad("khat", 0.9) | {"stderr": np.full(100, 0.2)},
            "10 of 100 data have Pareto k-hat above 0.67 and a standard error above 0.1 nats",
        ),
        (with_bad("bound_half", -4.0, 50), "the bound has grown by 0.50 nats with the last doubling"),
        (with_bad("log_likelihood", -np.inf), "10 of 100 data have no finite log-likelihood"),
        (with_bad("ess", 4.0) | with_bad("bound_half", -4.0, 50), "with the last doubling of the samples: the log-"),
    ],
)
def test_what_is_wrong_is_named(columns: dict[str, np.ndarray], words: str) -> None:
    assert words in warning(columns, "importance", 1000)


def test_a_few_bad_data_are_chance() -> None:
    assert warning(GOOD, "importance", 1000) == ""
    assert warning(with_bad("ess", 4.0, 5), "importance", 1000) == ""
    assert warning(GOOD | {"khat": np.full(100, np.nan)}, "importance", 10) == ""
    assert warning(with_bad("khat", 0.9), "importance", 1000) == ""  # of weights that hardly differ
    assert warning({"log_likelihood": np.zeros(3)}, "exact", 0) == ""


def test_chains_are_judged_by_their_share() -> None:
    assert "use a longer schedule or more chains" in warning(with_bad("ess", 1.1), "ais", 16)
    assert warning(with_bad("ess", 3.0), "ais", 16) == ""


def test_a_few_bad_data_that_cost_the_mean_are_named() -> None:
    costly = with_bad("ess", 1.0, 1) | {"bound_half": np.where(np.arange(100) < 1, -10.0, GOOD["log_likelihood"])}
    assert "1 of 100 data have an effective sample size below 10" in warning(costly, "importance", 1000)
    assert "on 1 of 100 data" in warning(costly, "ais", 16)


def test_data_count_for_their_weight() -> None:
    weights = np.full(100, 0.1 / 99)
    weights[0] = 0.9
    one = with_bad("ess", 4.0, 1)
    assert warning(one, "importance", 1000) == ""
    words = warning(one, "importance", 1000, weights=weights)
    assert words.startswith("1 of 100 data (0.9 of the weight) have an effective sample size")
    light = np.where(np.arange(100) < 90, 1e-4, 0.0991)
    assert warning(with_bad("ess", 4.0, 90), "importance", 1000, weights=light) == ""


def test_what_the_guide_misses_comes_first_and_is_counted() -> None:
    missed = np.arange(100) < 1
    assert warning(GOOD, "importance", 1000, missed=missed).startswith("on 1 of 100 data the guide gives probability")
    assert warning(GOOD, "importance", 1000, missed=missed & False) == ""


def test_chains_are_judged_by_growth_and_error_too() -> None:
    assert "has grown by 0.50 nats with the last doubling of the chains" in warning(
        with_bad("bound_half", -4.0, 50), "ais", 16
    )
    assert "10 of 100 data have a standard error above 0.5 nats" in warning(with_bad("stderr", 0.6), "ais", 4)
    assert "a single chain shows neither its error nor its bias" in warning(GOOD, "ais", 1)
