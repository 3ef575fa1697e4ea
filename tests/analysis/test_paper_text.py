"""The scripts of what the text of the paper says beside its figures, at their smallest."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

import pyro_helm as helm
from analysis.paper import (
    lateral_weights,
    recognition_cost,
    side_lobes,
    top_layer,
    wake_sleep_cost,
    wake_sleep_end,
    wake_sleep_gradient,
    weights,
)
from analysis.paper.factorial_posteriors import SIZES
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from tests.analysis.running import run_script
from tests.test_printed import machine as tiny_machine


@pytest.mark.parametrize(
    "name",
    ["imaging_ranking", "lateral_weights", "recognition_cost", "side_lobes", "wake_sleep_end", "wake_sleep_gradient"],
)
def test_a_script_writes_its_table(name: str, tmp_path: Path) -> None:
    assert run_script(f"analysis.paper.{name}", "--quick", "--out", tmp_path)
    table = pd.read_csv(tmp_path / f"{name}.csv")
    assert len(table) > 2
    kept = pd.read_csv(weights.MACHINE.parent / f"{name}.csv")
    assert list(kept.columns) == list(table.columns)


def test_a_prior_of_independent_units_is_trained_by_the_same_steps(tmp_path: Path) -> None:
    assert run_script("analysis.paper.prior_from_above", "--quick", "--restarts", "1", "--out", tmp_path)
    table = pd.read_csv(tmp_path / "prior_from_above.csv")
    assert table.prior.tolist() == ["fixed", "learned biases", "a layer above"]
    assert (table.log_likelihood < 0).all()


def test_many_draws_of_q_and_many_sweeps_come_near_what_they_estimate() -> None:
    sizes = SIZES
    model = BeliefNetwork(sizes, "odds", restarts=2, seed=0).double()
    guide = FactorialRecognition(sizes, restarts=2, seed=0).double()
    x = helm.load_data("bars").test[:1].double()
    torch.manual_seed(0)
    with torch.no_grad():
        machine = (model, guide)
        exact, of_q = recognition_cost.exact_means(machine, x), recognition_cost.means_of_q(guide, x)
        drawn = recognition_cost.draws(machine, x, 4000)
        weighted = recognition_cost.draws(machine, x, 100_000, weighted=True)
        chains = recognition_cost.chains(machine, x, 20, 4000)
        means = recognition_cost.means(machine, x)
    # 22 numbers with standard errors of at most 0.5/sqrt(4000) = 0.008; a state has about 50 of the weighted draws
    assert (drawn - of_q).abs().max() < 4.5 * 0.008
    assert (chains - exact).abs().max() < 4.5 * 0.008
    assert (weighted - exact).abs().max() < 0.15
    assert torch.allclose(means[..., : sizes[1]], of_q[..., : sizes[1]])  # of layer 2 the two are the same


def test_wake_sleeps_step_is_the_gradient_by_theta_and_no_more_than_near_it_by_phi() -> None:
    theta, phi = wake_sleep_cost.initial(4, seed=0)
    cosines = wake_sleep_gradient.cosines(theta, phi)
    assert ((cosines["all"] > -1) & (cosines["all"] < 1 - 1e-6)).all()
    assert (cosines["phi"] < 1 - 1e-6).all()


def test_log_p_of_the_tiny_machines_is_that_of_the_library() -> None:
    pair = tiny_machine("sigmoid", wake_sleep_cost.SIZES)
    theta = [
        torch.cat([layer.leak, getattr(layer, "weight", layer.leak[:, :0])], -2).detach()
        for layer in pair.model.generative
    ]
    log_p = wake_sleep_end.log_evidence(theta)
    assert float(log_p) == pytest.approx(float(pair.log_evidence(wake_sleep_cost.DATA).mean().detach()), rel=1e-9)


def test_wake_sleep_comes_towards_q_is_p() -> None:
    table = wake_sleep_end.run(8, (1, 100, 300)).query("rule == 'wake-sleep'")
    divergence = table.pivot(index="rounds", columns="machine", values="divergence").to_numpy()
    assert (divergence > 0).all()
    assert (divergence[2] < divergence[1]).all()
    assert (divergence[1] < divergence[0]).all()


def test_lateral_weights_against_overlap_are_told_from_those_by_place() -> None:
    pixels = torch.nn.functional.one_hot(torch.arange(12) % 3, 3).float().mT  # units for one of three things, in turn
    inhibits_alike = -(pixels.mT @ pixels)
    told = lateral_weights.described(inhibits_alike, pixels)
    assert told["with_overlap"] == pytest.approx(-1)
    assert told["negative_near"] == 0  # neighbours are for different things
    assert told["negative"] == pytest.approx(3 / 11)


def test_the_machine_of_fig_4_has_quiet_top_units_that_answer_by_being_let_go() -> None:
    machine, data = helm.load(weights.MACHINE), helm.load_data("shifter")
    tuned = weights.tuned_to(machine)
    assert int(tuned["left"].sum()) == int(tuned["right"].sum()) == 8
    units = top_layer.top_units(machine, tuned, data)
    assert {unit.direction for unit in units} == {"left", "right"}
    for unit in units:
        assert unit.told > 0.99
        assert unit.own < 0.2  # not the 1/2 of the printed machine's biases
        assert unit.by_other < -10 < 0 < unit.by_own < 3
        assert unit.odds_of_others < 1 < 1000 < unit.odds[0]


def test_without_its_side_lobes_the_machine_of_fig_4_responds_falsely() -> None:
    machine, data = helm.load(weights.MACHINE), helm.load_data("shifter")
    of_pair = weights.units_of_pairs(machine[0])[0]
    assert int(of_pair.sum()) == 16
    whole, cut = (
        side_lobes.responses(side_lobes.without(machine, which), of_pair, data) for which in ("none", "rivals")
    )
    assert whole[0] < 0.01 < 0.5 < cut[0]
    assert cut[1] <= whole[1] < 0.01
