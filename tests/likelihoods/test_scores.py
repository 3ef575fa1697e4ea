"""log_likelihood: tidy frames, the same from every method, and words when a number is not to be believed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from tests.checker import DATA, tiny_machine
from tests.oracle import binary_rows


def test_tables_have_a_row_per_restart_and_datum_and_a_row_per_restart() -> None:
    model, guide = BeliefNetwork((3, 2), restarts=2, seed=0), FactorialRecognition((3, 2), restarts=2, seed=0)
    scores = helm.log_likelihood(model, guide, DATA, num_samples=100)
    estimates = ["ess", "khat", "stderr_bootstrap", "bound_half", "bound_quarter", "jackknife", "elbo"]
    assert list(scores.table.columns) == ["restart", "datum", "log_likelihood", "stderr", *estimates]
    assert scores.table[["restart", "datum"]].to_numpy().tolist() == [[r, d] for r in range(2) for d in range(3)]
    columns = ["restart", "log_likelihood", "elbo", "bound_half", "bound_quarter", "jackknife", "warnings"]
    assert list(scores.summary.columns) == [*columns, "mean", "khat", "ess", "stderr"]
    assert scores.summary["mean"].equals(scores.summary.log_likelihood)
    mean = scores.table.groupby("restart").log_likelihood.mean()
    assert scores.summary.log_likelihood.tolist() == pytest.approx(mean.tolist())


def test_importance_and_exact_agree() -> None:
    machine = tiny_machine("odds")
    exact = helm.log_likelihood(machine.model, None, DATA, method="exact")
    sampled = helm.log_likelihood(machine.model, machine.guide, DATA, num_samples=20_000)
    z = (sampled.table.log_likelihood - exact.table.log_likelihood) / sampled.table.stderr
    assert z.abs().max() < 4  # z-threshold
    assert (exact.table.stderr == 0).all()


def test_weights_make_means_over_a_listed_distribution() -> None:
    machine = tiny_machine("sigmoid")
    patterns = binary_rows(3)
    probabilities = torch.linspace(1, 8, 8).double() / 36
    scores = helm.log_likelihood(machine.model, None, patterns, method="exact", weights=probabilities)
    expected = (probabilities * machine.log_evidence(patterns)).sum()
    assert scores.summary.log_likelihood.item() == pytest.approx(float(expected.detach()))
    assert scores.summary.stderr.item() == 0


def test_the_seed_fixes_the_numbers_and_the_callers_state_is_left_alone() -> None:
    machine = tiny_machine("sigmoid")
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one = helm.log_likelihood(machine.model, machine.guide, DATA, num_samples=10, seed=5)
    assert torch.equal(torch.rand(1), expected)
    same = helm.log_likelihood(machine.model, machine.guide, DATA, num_samples=10, seed=5)
    other = helm.log_likelihood(machine.model, machine.guide, DATA, num_samples=10, seed=6)
    assert one.table.equals(same.table)
    assert not one.table.equals(other.table)


def test_a_poor_guide_is_called_poor() -> None:
    machine = tiny_machine("sigmoid", spread=0.0)
    with torch.no_grad():
        machine.model.generative[0].weight_unconstrained.mul_(200)
        machine.guide.recognition[0].learned_leak_unconstrained.fill_(-6.0)  # rarely proposes a cause
    poor = helm.log_likelihood(*_pair(machine), DATA, num_samples=1000)
    good = helm.log_likelihood(*_pair(tiny_machine("sigmoid")), DATA, num_samples=1000)
    few = helm.log_likelihood(*_pair(tiny_machine("sigmoid")), DATA, num_samples=5)
    assert "use more samples, a better or a defensive guide" in poor.summary.warnings.item()
    assert good.summary.warnings.item() == ""
    assert "use more samples, a better or a defensive guide" in few.summary.warnings.item()


def _pair(machine: Any) -> tuple[BeliefNetwork, FactorialRecognition]:
    return machine.model, machine.guide


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"method": "guess"}, ValueError, "method must be one of importance, exact, ais; got 'guess'"),
        ({"data": DATA * 0.5}, ValueError, "data"),
        ({"data": DATA[:, :2]}, ValueError, "data"),
        ({"data": DATA.clone().fill_(float("nan"))}, ValueError, "data"),
        ({"guide": None}, ValueError, 'method="importance" needs a guide to draw from, got None'),
        ({"weights": torch.ones(2)}, ValueError, "weights must be 3 non-negative numbers, one per row of data"),
        ({"weights": torch.zeros(3)}, ValueError, "one per row of data and not all 0; got shape [3]"),
        ({"weights": -torch.ones(3)}, ValueError, "weights must be 3 non-negative numbers"),
        ({"num_samples": 0}, ValueError, "num_samples must be at least 1, got 0"),
        ({"num_samples": 10.0}, ValueError, "num_samples must be a whole number, got 10.0"),
        ({"num_samples": True}, ValueError, "num_samples must be a whole number, got True"),
        ({"method": "ais", "num_chains": 2.5}, ValueError, "num_chains must be a whole number, got 2.5"),
        ({"method": "exact", "max_terms": 0}, ValueError, "max_terms must be at least 1, got 0"),
        ({"method": "exact", "resume": "folder"}, ValueError, 'method="exact" has no chunks to resume from'),
    ],
)
def test_bad_input_is_refused_in_a_sentence(arguments: dict[str, Any], error: type[Exception], sentence: str) -> None:
    machine = tiny_machine("sigmoid")
    settings: dict[str, Any] = {"model": machine.model, "guide": machine.guide, "data": DATA} | arguments
    with pytest.raises(error, match=re.escape(sentence)):
        helm.log_likelihood(**settings)


def test_the_error_of_a_weighted_mean_is_that_of_its_samples() -> None:
    machine = tiny_machine("sigmoid")
    weights = torch.tensor([0.7, 0.2, 0.1])
    scores = helm.log_likelihood(machine.model, machine.guide, DATA, num_samples=30, weights=weights)
    expected = ((weights.double().numpy() * scores.table.stderr) ** 2).sum() ** 0.5
    assert scores.summary.stderr.item() == pytest.approx(expected)


def test_one_datum_has_the_error_of_its_samples() -> None:
    machine = tiny_machine("sigmoid")
    scores = helm.log_likelihood(machine.model, machine.guide, DATA[:1], num_samples=30)
    assert scores.summary.stderr.item() == pytest.approx(scores.table.stderr.item())


def test_a_broken_restart_is_no_number_and_says_so() -> None:
    model, guide = BeliefNetwork((3, 2), restarts=2, seed=0), FactorialRecognition((3, 2), restarts=2, seed=0)
    with torch.no_grad():
        model.generative[0].weight_unconstrained[1] = torch.nan
    for method in ("importance", "exact"):
        scores = helm.log_likelihood(model, guide, DATA, method=method, weights=torch.ones(3), num_samples=20)
        assert scores.summary.log_likelihood.notna().tolist() == [True, False]
        assert "no finite log-likelihood" in scores.summary.warnings[1]
        broken = scores.table[scores.table.restart == 1].drop(columns=["restart", "datum"])
        assert broken.isna().all(axis=None)


@pytest.mark.parametrize("start", ["guide", "prior"])
def test_annealing_gives_the_same_frames(start: str) -> None:
    machine = tiny_machine("odds")
    guide = machine.guide if start == "guide" else None
    scores = helm.log_likelihood(machine.model, guide, DATA, method="ais", num_chains=100, schedule=20, start=start)
    sampled = helm.log_likelihood(machine.model, machine.guide, DATA)
    assert list(scores.table) == [name for name in sampled.table if name != "elbo"]  # that of annealing is another
    assert "elbo" not in scores.summary
    z = (scores.table.log_likelihood - machine.log_evidence(DATA).detach().numpy()) / scores.table.stderr
    assert z.abs().max() < 4  # z-threshold


def test_settings_of_annealing_are_checked_before_it_begins(tmp_path: Path) -> None:
    machine = tiny_machine("sigmoid")
    for settings, sentence in (({"schedule": [0, 2]}, "rise from 0 to 1"), ({"start": "x"}, "start must be guide or")):
        with pytest.raises(ValueError, match=sentence):
            helm.log_likelihood(machine.model, machine.guide, DATA, method="ais", resume=tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("method", "names"), [("importance", ["num_samples"]), ("ais", ["schedule", "num_chains"])])
def test_numbers_may_be_those_of_numpy(method: str, names: list[str], tmp_path: Path) -> None:
    machine = tiny_machine("sigmoid")
    numbers: list[Any] = [np.int64(5), 5]
    one, other = (
        helm.log_likelihood(
            machine.model, machine.guide, DATA, method=method, resume=tmp_path, **dict.fromkeys(names, number)
        )
        for number in numbers
    )
    assert one.table.equals(other.table)


def test_a_guide_that_misses_a_site_is_refused() -> None:
    model, guide = BeliefNetwork((3, 2, 2)), FactorialRecognition((3, 2))

    def shallow(observations: Any) -> None:
        guide(observations)

    with pytest.raises(ValueError, match="latent site 'h2' of the model is missing in the guide"):
        helm.log_likelihood(model, shallow, DATA)


def test_scores_are_written_and_read_back(tmp_path: Path) -> None:
    machine = tiny_machine("sigmoid")
    scores = helm.log_likelihood(machine.model, machine.guide, DATA, num_samples=50)
    scores.write(tmp_path / "scores")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"scores{part}.{suffix}" for part in ("", "-summary") for suffix in ("parquet", "csv")
    }
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores.parquet"), scores.table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores-summary.parquet"), scores.summary)


def test_what_arviz_can_not_compare_is_refused() -> None:
    machine = tiny_machine("sigmoid")
    weighted = helm.log_likelihood(machine.model, None, DATA, method="exact", weights=torch.ones(3))
    with pytest.raises(ValueError, match="patterns with weights; score test cases"):
        weighted.to_arviz()
    with pytest.raises(ValueError, match="there is no restart 1; there are 1"):
        helm.log_likelihood(machine.model, None, DATA, method="exact").to_arviz(restart=1)


def test_arviz_1_takes_its_groups_in_one_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    # ArviZ 1 needs a later Python than this library; it re-exports this function of its own
    def from_dict(data: dict[str, Any], *, dims: dict[str, list[str]]) -> Any:
        return data, dims

    monkeypatch.setitem(sys.modules, "arviz", SimpleNamespace(__version__="1.0.0", from_dict=from_dict))
    scores = helm.log_likelihood(tiny_machine("sigmoid").model, None, DATA, method="exact")
    groups, dims = scores.to_arviz()
    assert groups["log_likelihood"]["x"].shape == (1, 1, len(DATA))
    assert groups["log_likelihood"]["x"][0, 0].tolist() == scores.table.log_likelihood.tolist()
    assert dims == {"x": ["datum"]}
