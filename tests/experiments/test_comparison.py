"""compare: the same machines for every scheme, tidy results, a summary made from the table alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.programs.particles import Program
from pyro_helm.runtime.tables import COLUMNS, tidy

SETTINGS: dict[str, Any] = {
    "sizes": (16, 4),
    "restarts": 2,
    "num_epochs": 2,
    "num_samples": 20,
    "batch_size": 50,
    "progress": False,
}


def small(data: helm.Data) -> helm.Data:
    return helm.Data(
        name=data.name,
        train=data.train[:200],
        valid=data.valid[:50],
        test=data.test[:50],
        image_shape=data.image_shape,
        distribution=data.distribution,
    )


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> tuple[helm.Comparison, Path]:
    out = tmp_path_factory.mktemp("compare")
    schemes = [helm.WakeSleep(2), helm.ReweightedWakeSleep(2)]
    data = small(helm.load_data("bars"))
    return helm.compare(data, schemes=schemes, imaging=["sigmoid", "odds"], out=out, **SETTINGS), out


def test_the_table_has_history_and_final_scores_of_every_machine(comparison: tuple[helm.Comparison, Path]) -> None:
    table = comparison[0].table
    assert list(table.columns) == COLUMNS
    final = table[table.metric == "log_likelihood"]
    assert len(final) == 2 * 2 * 2  # imaging models x schemes x restarts
    assert set(table.metric) == {
        "train_bound",
        "valid_elbo",
        "valid_log_likelihood",
        "elbo",
        "log_likelihood",
        "failed",
    }
    # no model beats the entropy of the exact distribution
    entropy = helm.load_data("bars").distribution.entropy  # type: ignore[union-attr]
    assert (final.value < -entropy).all()


def test_results_and_machines_are_on_disk(comparison: tuple[helm.Comparison, Path]) -> None:
    result, out = comparison
    pd.testing.assert_frame_equal(pd.read_parquet(out / "results.parquet"), result.table)
    assert len(pd.read_csv(out / "results.csv")) == len(result.table)
    run = result.runs[(result.runs.machine == "odds") & (result.runs.scheme == "wake_sleep")]
    model, guide = helm.load(run.folder.item())
    assert set(helm.Study.open(out).table().run) == set(result.runs.run)
    data = helm.load_data("bars").distribution
    assert data is not None
    again = helm.log_likelihood(model, guide, data.patterns, num_samples=20, weights=data.probabilities)
    rows = result.table.query("imaging == 'odds' and scheme == 'wake_sleep' and metric == 'log_likelihood'")
    assert again.summary.log_likelihood.tolist() == pytest.approx(rows.value.tolist())


def test_schemes_start_from_the_same_machine(tmp_path: Path) -> None:
    data = small(helm.load_data("bars"))
    settings = SETTINGS | {"learning_rate": 0.0}
    table = helm.compare(data, schemes=[helm.WakeSleep(2), helm.Reinforce(2)], **settings).table
    scores = table[table.metric == "log_likelihood"].groupby("scheme").value.apply(list)
    assert scores["wake_sleep"] == scores["reinforce"]


def rows(values: list[float], scheme: str, failed: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    labels = {"dataset": "d", "sizes": "4-2", "imaging": "odds", "scheme": scheme, "seed": 0, "seconds": 8.0}
    return [
        labels | {"restart": restart, "metric": metric, "value": number}
        for restart, value in enumerate(values)
        for metric, number in (("log_likelihood", value), ("elbo", value - 1), ("failed", float(restart in failed)))
    ]


def test_the_summary_is_median_best_and_error_over_restarts_best_first() -> None:
    table = tidy(rows([-3.0, -5.0, -4.0, -9.0], "reinforce") + rows([-2.0, -7.0], "wake_sleep", failed=(1,)))
    summary = helm.summarise(table)
    assert summary.scheme.tolist() == ["wake_sleep", "reinforce"]
    first, second = summary.iloc[0], summary.iloc[1]
    assert (first.log_likelihood, first.restarts, first.failed) == (-2.0, 2, 1)
    assert np.isnan(first.log_likelihood_stderr)
    assert (second.log_likelihood, second.log_likelihood_best, second.elbo, second.elbo_best) == (
        -4.5,
        -3.0,
        -5.5,
        -4.0,
    )
    assert 0.3 < second.log_likelihood_stderr < 3
    assert second.seconds == 2.0  # 8 seconds of training for 4 restarts


def test_all_restarts_failed_is_no_number() -> None:
    summary = helm.summarise(tidy(rows([-3.0, -5.0], "reinforce", failed=(0, 1))))
    assert np.isnan(summary.log_likelihood.item())
    assert summary.failed.item() == 2


class Interrupting(helm.WakeSleep):
    """Ctrl-C in the second epoch."""

    steps = 0

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        self.steps += 1
        if self.steps > 6:
            raise KeyboardInterrupt
        return super().restart_losses(model, guide, *args, **kwargs)


def test_ctrl_c_ends_it_with_what_there_is(tmp_path: Path) -> None:
    data = small(helm.load_data("bars"))
    schemes = [helm.Reinforce(2), Interrupting(2), helm.ReweightedWakeSleep(2)]
    result = helm.compare(data, schemes=schemes, out=tmp_path, **SETTINGS)
    assert result.interrupted
    assert set(result.summary.scheme) == {"reinforce", "wake_sleep"}
    assert set(pd.read_parquet(tmp_path / "results.parquet").scheme) == {"reinforce", "wake_sleep"}


def test_an_interrupted_first_epoch_is_an_empty_comparison() -> None:
    scheme = Interrupting(2)
    scheme.steps = 6
    result = helm.compare(small(helm.load_data("bars")), schemes=[scheme], **SETTINGS)
    assert result.interrupted
    assert result.table.empty
    assert result.summary.empty


def test_data_without_an_exact_distribution_are_scored_on_their_test_cases() -> None:
    from pyro_helm.experiments.scoring import cases_to_score

    data = helm.load_data("digits")
    cases, weights = cases_to_score(data)
    assert torch.equal(cases, data.test)
    assert weights is None


def test_what_would_be_merged_is_refused() -> None:
    data = small(helm.load_data("bars"))
    twice = [helm.ReweightedWakeSleep(2), helm.ReweightedWakeSleep(2)]
    with pytest.raises(ValueError, match="schemes must be each named once"):
        helm.compare(data, schemes=twice, **SETTINGS)
    with pytest.raises(ValueError, match=r"imaging models to compare .* got odds, odds"):
        helm.compare(data, schemes=twice[:1], imaging=["odds", "odds"], **SETTINGS)
    with pytest.raises(ValueError, match="got none"):
        helm.compare(data, schemes=[], **SETTINGS)


def test_ctrl_c_while_scoring_keeps_the_earlier_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    original = helm.log_likelihood
    calls: list[Any] = []

    def interrupted(*args: Any, **kwargs: Any) -> helm.Scores:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr("pyro_helm.experiments.scoring.log_likelihood", interrupted)
    data = small(helm.load_data("bars"))
    result = helm.compare(data, schemes=[helm.WakeSleep(2), helm.Reinforce(2)], **SETTINGS)
    assert result.interrupted
    assert result.summary.scheme.tolist() == ["wake_sleep"]


def test_a_scheme_with_too_many_states_is_left_out_and_the_others_go_on() -> None:
    data = small(helm.load_data("bars"))
    schemes = [helm.ExactEM(max_terms=1000), helm.WakeSleep(2)]
    with pytest.warns(RuntimeWarning, match="exact_em is left out: exact EM would sum over 16 joint states"):
        comparison = helm.compare(data, schemes=schemes, **SETTINGS)
    assert comparison.summary.scheme.tolist() == ["wake_sleep"]


def test_if_that_leaves_no_scheme_the_reason_is_an_error() -> None:
    data = small(helm.load_data("bars"))
    with pytest.warns(RuntimeWarning, match="left out"), pytest.raises(helm.Intractable, match="more than max_terms"):
        helm.compare(data, schemes=[helm.ExactEM(max_terms=1000)], **SETTINGS)


def test_a_kind_of_step_that_there_is_not_is_refused_by_every_scheme() -> None:
    for scheme in (helm.NVIL(2), helm.VIMCO(2)):
        with pytest.raises(ValueError, match="step must be one of eager, captured, compiled; got 'quick'"):
            helm.compare(small(helm.load_data("bars")), schemes=[scheme], **SETTINGS, step="quick")


def test_a_scheme_may_stand_twice_with_other_settings() -> None:
    data = small(helm.load_data("bars"))
    comparison = helm.compare(data, schemes=[helm.VIMCO(2), helm.VIMCO(3)], **SETTINGS)
    assert set(comparison.summary.scheme) == {"vimco num_particles=2", "vimco num_particles=3"}
    assert set(comparison.table.num_particles) == {2, 3}


def test_merged_tables_of_other_settings_are_told_apart_and_twice_the_same_is_refused() -> None:
    def merged(*rates: float) -> pd.DataFrame:
        return pd.concat([tidy(rows([-rate, -rate], "wake_sleep")).assign(learning_rate=rate) for rate in rates])

    assert helm.summarise(merged(1.0, 2.0)).learning_rate.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="more than once"):
        helm.summarise(merged(1.0, 1.0))
