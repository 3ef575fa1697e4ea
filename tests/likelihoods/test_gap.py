"""The sandwich: the truth lies inside, and the verdict is right about good and poor estimators."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pyro
import pytest
import torch

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods.gap import _verdict, dream
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.seeding import forked_rng
from tests.checker import tiny_machine


def test_the_truth_lies_between_the_bounds() -> None:
    machine = tiny_machine("odds")
    gap = helm.log_likelihood_gap(machine.model, machine.guide, num_data=400, num_chains=2, schedule=5, seed=3)
    with forked_rng(3, torch.device("cpu")), torch.no_grad():
        x = dream(machine.model, 400)[0][0]
    truth = machine.log_evidence(x).detach().numpy()
    below, above = truth - gap.table.lower, gap.table.upper - truth
    for side in (below, above):
        assert side.mean() > 0
        assert side.mean() / side.sem() > 2  # z-threshold: short chains leave a gap on either side
    assert gap.summary.gap.item() == pytest.approx(below.mean() + above.mean())


def test_a_dream_is_a_joint_draw() -> None:
    model = BeliefNetwork((4, 3, 2), restarts=2, seed=0)
    pyro.set_rng_seed(0)
    assert [layer.shape for layer in dream(model, 5)] == [(2, 5, 4), (2, 5, 3), (2, 5, 2)]


def test_the_verdict_tells_a_poor_guide_from_a_good_one(tmp_path: Path) -> None:
    machine = tiny_machine("sigmoid")
    good = helm.log_likelihood_gap(machine.model, machine.guide, num_data=30, schedule=100)
    assert good.summary.verdict.item().startswith("annealing and importance sampling can be trusted")
    model, guide = BeliefNetwork((30, 8), restarts=2, seed=0), FactorialRecognition((30, 8), restarts=2, seed=0)
    with torch.no_grad():
        model.generative[0].weight_unconstrained.mul_(6)
    poor = helm.log_likelihood_gap(model, guide, num_data=20, num_samples=10, schedule=300)
    assert poor.summary.verdict.str.startswith("annealing can be trusted, importance sampling can't").all()
    hasty = helm.log_likelihood_gap(model, guide, num_data=20, num_samples=10, num_chains=1, schedule=2)
    assert hasty.summary.verdict.str.startswith("annealing can't be trusted").all()
    poor.write(tmp_path / "gap")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "gap.parquet"), poor.table)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (
            (0.01, 0.02, 0.02, 0.02),
            "annealing and importance sampling can be trusted: the sandwich is 0.010 ± 0.020 nats",
        ),
        (
            (0.05, 0.04, 0.0, 0.0),
            "too few dreams to tell: the sandwich is 0.050 ± 0.040 nats wide on average; use more",
        ),
        ((-0.05, 0.04, 0.0, 0.0), "too few dreams to tell: the sandwich is -0.050 ± 0.040 nats wide"),
        ((0.5, math.nan, 0.0, 0.0), "too few dreams to tell"),
        ((0.3, 0.05, 0.0, 0.0), "annealing can't be trusted: the sandwich is 0.300 ± 0.050 nats wide"),
        ((0.01, 0.02, 0.05, 0.04), "annealing can be trusted, too few dreams to tell of importance sampling"),
        ((0.01, 0.02, 0.50, 0.04), "annealing can be trusted, importance sampling can't"),
    ],
)
def test_the_verdict_goes_by_the_gap_and_its_error(row: tuple[float, ...], verdict: str) -> None:
    names = ("gap", "gap_stderr", "shortfall", "shortfall_stderr")
    assert _verdict(dict(zip(names, row, strict=True))).startswith(verdict)


def test_one_dream_is_too_few_to_tell() -> None:
    machine = tiny_machine("sigmoid")
    gap = helm.log_likelihood_gap(machine.model, machine.guide, num_data=1, num_samples=10, schedule=5)
    assert gap.summary.verdict.item().startswith("too few dreams to tell")


def test_without_a_guide_annealing_starts_from_the_prior() -> None:
    machine = tiny_machine("noisy_or")
    gap = helm.log_likelihood_gap(machine.model, None, num_data=10, schedule=50, start="prior")
    assert "importance" not in gap.table
    assert gap.summary.verdict.item().startswith("annealing can be trusted: the sandwich is")


def test_bad_settings_are_refused() -> None:
    machine = tiny_machine("sigmoid")
    with pytest.raises(ValueError, match="num_data must be at least 1, got 0"):
        helm.log_likelihood_gap(machine.model, machine.guide, num_data=0)
    with pytest.raises(ValueError, match=r"num_samples must be a whole number, got 10\.0"):
        helm.log_likelihood_gap(machine.model, machine.guide, num_samples=10.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='use start="prior"'):
        helm.log_likelihood_gap(machine.model, None)
