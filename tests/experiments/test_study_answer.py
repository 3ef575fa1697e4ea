"""What a report says: who leads, by how much, and how sure, from tables made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pyro_helm.experiments.choosing import NoChoice
from pyro_helm.experiments.study_answer import headline, leaders, verdicts


class Tables:
    """A study of which only two tables are asked: three schemes in one place, differences from whom is asked."""

    def __init__(self, lows: dict[str, tuple[float, float, float]], places: int = 1, valid: bool = True) -> None:
        # of each scheme: how far below the leader, and the interval
        self.lows, self.places, self.valid = lows, places, valid

    def chosen(self) -> pd.DataFrame:
        return pd.DataFrame(
            {"dataset": f"set{place}", "machine": "odds 4", "budget": "", "scheme": scheme, "restarts": 8,
             "valid_log_likelihood": -5.0 - behind if self.valid else np.nan, "log_likelihood": -6.0 - behind,
             "log_likelihood_stderr": 0.1}
            for place in range(self.places)
            for scheme, behind in {"vimco": 0.0, **{name: 1.0 for name in self.lows}}.items()
        )  # fmt: skip

    def differences(self, reference: str) -> pd.DataFrame:
        assert reference == "vimco"
        rows = [
            (f"set{place}", "odds 4", "", scheme, "vimco", *numbers, 8)
            for place in range(self.places)
            for scheme, numbers in self.lows.items()
        ]
        names = ["dataset", "machine", "budget", "scheme", "against", "difference", "low", "high", "pairs"]
        return pd.DataFrame(rows, columns=names)


def answer(lows: dict[str, tuple[float, float, float]], **settings: Any) -> tuple[str, bool]:
    (verdict,) = verdicts(Tables(lows, **settings))  # type: ignore[arg-type]
    assert verdict.leader == "vimco"
    assert verdict.place == "set0, odds 4"
    return verdict.sentence, verdict.clear


def test_where_no_setting_can_be_chosen_there_is_no_answer() -> None:
    class Undecided(Tables):
        def chosen(self) -> pd.DataFrame:
            raise NoChoice("settings can't be chosen")

    assert verdicts(Undecided({})) == []  # type: ignore[arg-type]


def test_a_rival_whose_interval_is_below_zero_is_behind() -> None:
    sentence, clear = answer({"nvil": (-0.5, -0.7, -0.3)})
    assert sentence.startswith("vimco is best on validation data; on test data it has -6.000 ± 0.100 nats per datum")
    assert "It is ahead of nvil by 0.500 [0.300, 0.700]." in sentence
    assert clear


def test_a_rival_whose_interval_holds_zero_can_not_be_told_apart() -> None:
    sentence, clear = answer({"nvil": (-0.1, -0.3, 0.1), "tvo": (-0.5, -0.7, -0.3)})
    assert "It can't be told apart from nvil (0.100 [-0.100, 0.300])" in sentence
    assert "ahead of tvo by 0.500" in sentence
    assert not clear


def test_a_rival_that_is_better_on_test_data_is_named() -> None:
    sentence, clear = answer({"nvil": (0.2, 0.1, 0.3)})
    assert "On test data it is behind nvil by 0.200 [0.100, 0.300]." in sentence
    assert not clear


def test_a_single_pair_is_too_few() -> None:
    sentence, clear = answer({"nvil": (-0.5, np.nan, np.nan)})
    assert "too few pairs of restarts to compare it with nvil" in sentence
    assert not clear


def test_a_lone_scheme_leads_nobody() -> None:
    sentence, clear = answer({})
    assert "No other scheme has been scored." in sentence
    assert not clear


def test_without_validation_test_data_decide() -> None:
    sentence, _ = answer({"nvil": (-0.5, -0.7, -0.3)}, valid=False)
    assert sentence.startswith("vimco is best on test data: it has -6.000")


def test_several_places_have_a_headline() -> None:
    found = verdicts(Tables({"nvil": (-0.5, -0.7, -0.3)}, places=3))  # type: ignore[arg-type]
    assert headline(found) == "Of 3 comparisons vimco leads in 3; every rival is clearly behind in 3 of them."
    assert headline(found[:1]) == ""


def test_the_leader_is_chosen_on_validation_data_alone() -> None:
    chosen = Tables({"nvil": (0.0, 0.0, 0.0)}).chosen().assign(log_likelihood=[-9.0, -1.0])
    assert leaders(chosen).scheme.tolist() == ["vimco"]
    assert pytest.approx(leaders(chosen.assign(valid_log_likelihood=[-np.inf, -5.0])).log_likelihood.item()) == -1.0
