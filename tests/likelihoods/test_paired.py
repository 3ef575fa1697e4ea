"""Paired differences: by their definition, with the right error, on the same data only; and ArviZ agrees."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import pyro_helm as helm
from pyro_helm.models import BeliefNetwork
from tests.checker import DATA, tiny_machine
from tests.oracle import binary_rows

X = binary_rows(4).float().repeat(5, 1)


def exact_scores(seed: int, restarts: int = 1, x: torch.Tensor = X) -> helm.Scores:
    return helm.log_likelihood(BeliefNetwork((4, 3), restarts=restarts, seed=seed), None, x, method="exact")


def test_two_models_are_compared_datum_by_datum() -> None:
    one, two = exact_scores(0), exact_scores(1)
    row = helm.paired_differences(one, two).iloc[0]
    difference = one.table.log_likelihood - two.table.log_likelihood
    assert row.difference == pytest.approx(difference.mean())
    assert row.stderr == pytest.approx(difference.sem())
    assert row.z == pytest.approx(row.difference / row.stderr)
    backwards = helm.paired_differences(two, one).iloc[0]
    assert backwards.difference == pytest.approx(-row.difference)


def test_restarts_of_one_model_are_compared_in_pairs() -> None:
    scores = exact_scores(0, restarts=3)
    pairs = helm.paired_differences(scores)
    assert pairs[["restart", "against"]].values.tolist() == [[0, 1], [0, 2], [1, 2]]
    means = scores.summary.log_likelihood
    assert pairs.difference.tolist() == pytest.approx([means[0] - means[1], means[0] - means[2], means[1] - means[2]])
    assert len(helm.paired_differences(scores, exact_scores(1, restarts=2))) == 6


def test_the_error_covers_the_difference_of_the_populations() -> None:
    one, two = exact_scores(0, x=binary_rows(4).float()), exact_scores(1, x=binary_rows(4).float())

    def of_rows(scores: helm.Scores, rows: np.ndarray) -> helm.Scores:
        return replace(scores, table=scores.table.iloc[rows].assign(datum=range(len(rows))))

    difference = (one.table.log_likelihood - two.table.log_likelihood).to_numpy()
    generator, inside = np.random.default_rng(0), 0
    for _ in range(400):
        rows = generator.integers(16, size=60)
        row = helm.paired_differences(of_rows(one, rows), of_rows(two, rows)).iloc[0]
        inside += abs(row.difference - difference.mean()) < 1.96 * row.stderr
    assert 0.91 < inside / 400 < 0.98


def test_patterns_with_weights_have_the_error_of_the_samples() -> None:
    machine = tiny_machine("sigmoid")
    weights = torch.tensor([0.5, 0.3, 0.2])
    estimates = [
        helm.log_likelihood(machine.model, machine.guide, DATA, num_samples=100, weights=weights, seed=seed)
        for seed in range(2)
    ]
    row = helm.paired_differences(*estimates).iloc[0]
    expected = sum(((weights.numpy() * e.table.stderr) ** 2).sum() for e in estimates) ** 0.5
    assert row.stderr == pytest.approx(expected, rel=1e-6)
    assert abs(row.difference) < 4 * row.stderr  # z-threshold
    exact = helm.log_likelihood(machine.model, None, DATA, method="exact", weights=weights)
    assert np.isnan(helm.paired_differences(exact, exact).z[0])


def test_scores_of_other_data_are_refused() -> None:
    with pytest.raises(ValueError, match="must be scored on the same data, got 80 and 4 data"):
        helm.paired_differences(exact_scores(0), exact_scores(0, x=X[:4]))
    weighted = helm.log_likelihood(BeliefNetwork((4, 3)), None, X, method="exact", weights=torch.ones(80))
    with pytest.raises(ValueError, match="must be scored on the same data, got data of different weights"):
        helm.paired_differences(exact_scores(0), weighted)
    for other in (1 - X, X.flip(0)):
        with pytest.raises(ValueError, match="must be scored on the same data, got data of other values or order"):
            helm.paired_differences(exact_scores(0), exact_scores(1, x=other))


def test_data_are_the_same_in_any_type() -> None:
    model = BeliefNetwork((4, 3), seed=1).double()
    for x in (X.double(), X.bool(), X.to(torch.uint8)):
        precise = helm.log_likelihood(model, None, x, method="exact")
        assert helm.paired_differences(exact_scores(1), precise).difference[0] == pytest.approx(0, abs=1e-5)


def test_arviz_compares_models_by_the_same_numbers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ's own, on its future and pandas'
        arviz = pytest.importorskip("arviz")
        one, two = exact_scores(0), exact_scores(1)
        compared = arviz.compare({"one": one.to_arviz(), "two": two.to_arviz()}, ic="waic")
    ours = helm.paired_differences(one, two).iloc[0]
    best, other = ("one", "two") if ours.difference > 0 else ("two", "one")
    assert compared.index.tolist() == [best, other]
    assert compared.elpd_diff[other] == pytest.approx(80 * abs(ours.difference))
    assert compared.dse[other] == pytest.approx(80 * ours.stderr, rel=0.01)
    assert compared.elpd_waic["one"] == pytest.approx(one.table.log_likelihood.sum())
    assert (compared.p_waic == 0).all()
