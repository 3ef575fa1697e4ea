"""Chosen settings and paired differences, from tables whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from pyro_helm.experiments.choosing import (
    chosen_if_any,
    chosen_settings,
    interval,
    missing_references,
    paired_by_restart,
)

LABELS = {"dataset": "d", "machine": "m", "budget": "b", "seed": 0, "epoch": 1, "steps": 10, "seconds": 2.0}


def rows(
    scheme: str, rate: float, valid: list[float], test: list[float], failed: tuple[int, ...] = ()
) -> list[dict[str, object]]:
    labels = {**LABELS, "run": f"{scheme}{rate}", "scheme": scheme, "learning_rate": rate}
    return [
        labels | {"restart": restart, "split": split, "metric": metric, "value": value}
        for split, values in (("valid", valid), ("test", test))
        for restart, number in enumerate(values)
        for metric, value in (("log_likelihood", number), ("elbo", number - 1), ("failed", float(restart in failed)))
    ]


TABLE = pd.DataFrame(
    [
        # better on test, worse on validation: not to be chosen
        *rows("a", 0.1, [-5.0, -6.0, -7.0], [-1.0, -1.0, -1.0]),
        *rows("a", 0.2, [-4.0, -5.0, -6.0], [-8.0, -9.0, -7.0]),
        # best where it has not failed, but two of three have
        *rows("b", 0.1, [-1.0, -1.0, -1.0], [-2.0, -2.0, -2.0], failed=(0, 1)),
        *rows("b", 0.2, [-7.0, -7.0, -7.0], [-9.0, -9.5, -7.0], failed=(2,)),
    ]
)


def test_the_choice_is_made_on_validation_data_and_a_failed_restart_counts_as_the_worst() -> None:
    chosen = chosen_settings(TABLE, ["learning_rate"]).set_index("scheme")
    assert chosen.learning_rate.to_dict() == {"a": 0.2, "b": 0.2}
    reported = chosen[["log_likelihood", "log_likelihood_best", "restarts", "failed"]].T.to_dict("list")
    assert reported == {"a": [-8, -7, 3, 0], "b": [-9.25, -9, 3, 1]}
    assert chosen.ms_per_step.tolist() == [200.0, 200.0]
    assert chosen.index.tolist() == ["a", "b"]  # best first


def test_differences_are_paired_by_restart_and_leave_failed_ones_out() -> None:
    chosen = chosen_settings(TABLE, ["learning_rate"])
    row = paired_by_restart(TABLE, chosen, ["learning_rate"], "a").to_dict("records")[0]
    assert (row["scheme"], row["against"], row["pairs"]) == ("b", "a", 2)
    # -9 - -8 and -9.5 - -9, whose interval is by hand: t(0.975, 1) = 12.7062
    assert (row["difference"], row["stderr"]) == pytest.approx((-0.75, 0.25))
    assert (row["low"], row["high"]) == pytest.approx((-0.75 - 12.7062 * 0.25, -0.75 + 12.7062 * 0.25), rel=1e-5)
    against_best = paired_by_restart(TABLE, chosen, ["learning_rate"])
    assert against_best.against.item() == "a"


def test_a_reference_without_a_result_leaves_rows_without_pairs_and_a_sentence() -> None:
    chosen = chosen_settings(TABLE, ["learning_rate"])
    differences = paired_by_restart(TABLE, chosen, ["learning_rate"], "intractable")
    assert differences[["scheme", "against", "pairs"]].to_numpy().tolist() == [
        ["a", "intractable", 0],
        ["b", "intractable", 0],
    ]
    assert differences.difference.isna().all()
    (sentence,) = missing_references(chosen, "intractable")
    assert sentence.startswith("intractable, the reference, has no result for d, m, b")
    assert missing_references(chosen, "a") == missing_references(chosen, "") == []


def test_without_validation_scores_there_must_be_one_setting() -> None:
    on_test = TABLE[TABLE.split == "test"]
    with pytest.raises(ValueError, match="settings can't be chosen without validation scores: a has 2, and no run"):
        chosen_settings(on_test, ["learning_rate"])
    chosen, why = chosen_if_any(on_test, ["learning_rate"])
    assert chosen.empty
    assert "validation scores" in why
    one = chosen_settings(on_test[on_test.learning_rate == 0.2], [])
    assert one.log_likelihood.tolist() == [-8.0, -9.25]
    assert one.valid_log_likelihood.isna().all()


def test_one_pair_has_no_interval() -> None:
    assert interval(np.array([1.5]))["difference"] == 1.5
    assert math.isnan(interval(np.array([1.5]))["low"])
    assert math.isnan(interval(np.array([]))["difference"])
