"""The small scripts of the paper's claims, at their smallest, say what docs/paper.md says of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import torch

import pyro_helm as helm
from analysis.paper import (
    factorial_posteriors,
    fig4_layout,
    many_iterations,
    multiple_causes,
    obvious_rule,
    partial_e_step,
    solved_machines,
    vector_quantiser,
    wake_sleep_cost,
    weights,
)
from analysis.paper.best_known import by_hand
from analysis.paper.shifter_training import LEAK, free_energies
from pyro_helm.layers import Odds
from pyro_helm.models import BeliefNetwork
from tests.oracle import binary_rows
from tests.test_printed import machine


@pytest.mark.parametrize("name", ["full", "half", "one_pattern"])
def test_no_step_of_em_lowers_the_bound_however_partial(name: str) -> None:
    heights, log_p = partial_e_step.climb(getattr(partial_e_step, name), 8)
    assert min(b - a for a, b in pairwise(heights)) > 0
    assert heights[-1] <= log_p[-1] + 1e-12


def test_f_and_the_sleep_cost_are_those_of_the_library() -> None:
    pair = machine("sigmoid", wake_sleep_cost.SIZES)
    with torch.no_grad():
        theta = [
            torch.cat([layer.leak, getattr(layer, "weight", layer.leak[:, :0])], -2) for layer in pair.model.generative
        ]
        phi = [torch.cat([layer.leak, layer.weight], -2) for layer in pair.guide.recognition]
        f = -pair.elbo(wake_sleep_cost.DATA).mean()
        every = binary_rows(wake_sleep_cost.SIZES[0])
        of_posterior = (pair.log_evidence(every).exp() * pair.posterior_joint(every)).sum()
        entropy_of_dreams = (pair.log_evidence(every).exp() * pair.log_evidence(every)).sum()
        sleep = of_posterior - entropy_of_dreams - pair.sleep_phi()
    assert float(wake_sleep_cost.free_energy(theta, phi)) == pytest.approx(float(f), rel=1e-9)
    assert float(wake_sleep_cost.sleep_cost(theta, phi)) == pytest.approx(float(sleep), rel=1e-9)


def test_each_phase_lowers_its_own_cost() -> None:
    path = wake_sleep_cost.run(4, 20)
    assert (path[:, 1, 0] <= path[:, 0, 0]).all()
    assert (path[:, 2, 1] <= path[:, 1, 1]).all()


def test_multi_information_is_zero_for_independent_units_and_the_entropy_of_a_copy() -> None:
    on = torch.tensor([0.1, 0.5, 0.7]).double()
    rows = binary_rows(3)
    independent = (on**rows * (1 - on) ** (1 - rows)).prod(-1)
    assert float(factorial_posteriors.multi_information(independent)) == pytest.approx(0, abs=1e-12)
    copies = torch.tensor([0.5, 0, 0, 0.5]).double()  # both off or both on
    assert float(factorial_posteriors.multi_information(copies)) == pytest.approx(torch.log(torch.tensor(2.0)))


def test_the_obvious_rule_is_a2_of_means() -> None:
    layer = Odds(1, 1, fixed_leak=1e-9, learned_leak=False)
    with torch.no_grad():
        layer.weight = torch.full((1, 1, 1), 20.0)
    q = torch.tensor([[0.1]])
    obvious = obvious_rule.ObviousMeanField()._log_probs(layer, q)
    assert float(obvious.on.detach().exp()) == pytest.approx(2 / 3, rel=1e-5)
    assert float(obvious.off.detach().exp()) == pytest.approx(1 / 3, rel=1e-5)


@pytest.fixture(scope="module")
def shifter() -> helm.Data:
    return helm.load_data("shifter")


def test_a_machine_has_come_out_if_each_top_unit_tells_a_direction_of_its_own(shifter: helm.Data) -> None:
    _, guide = by_hand(3)
    with torch.no_grad():
        weight = guide.recognition[1].weight
        weight[1, :, 1] = weight[1, :, 0]  # both for the left
        weight[2, :, 1] = 0.0  # the left unit alone tells all, and the other nothing
    told = many_iterations.read_off_means(guide, shifter)
    assert told["found"] == [True, False, False]
    assert told["told_by_means"] == pytest.approx([1, 1, 1], abs=1e-6)
    assert told["told_by_the_weaker_unit"][2] < 0.6


def test_the_best_machine_is_one_that_came_out_however_low_the_f_of_another(tmp_path: Path) -> None:
    machine = by_hand(3)
    folder = many_iterations.folder(tmp_path, "at once", 0)
    folder.mkdir(parents=True)
    helm.save(folder, *machine)
    table = pd.DataFrame({"start": "at once", "seed": 0, "iterations": 300, "restart": [0, 1, 2]})
    f = free_energies(helm.MeanField(), machine, helm.load_data("shifter").distribution)
    lowest, best, worst = f.argsort().tolist()
    table = table.assign(found=[restart != lowest for restart in range(3)], f=f.tolist())
    earlier = table.assign(iterations=100, found=True, f=1.0)
    both = pd.concat([earlier, table], ignore_index=True)
    model, guide = helm.load(many_iterations.keep_best(tmp_path, both))
    kept = machine[0].generative[0].weight[best : best + 1].double()
    assert torch.allclose(model.generative[0].weight, kept, rtol=1e-6)
    assert torch.equal(guide.recognition[1].weight, machine[1].recognition[1].weight[best : best + 1].double())
    assert f[lowest] < f[best] < f[worst]
    helm.save(folder, *by_hand(3, seed=1))
    with pytest.raises(ValueError, match="are not those after 300 iterations, the last in the table"):
        many_iterations.keep_best(tmp_path, both)


def test_the_machine_of_fig_4_is_what_its_caption_tells(shifter: helm.Data) -> None:
    machine = helm.load(weights.MACHINE)
    assert many_iterations.read_off_means(machine[1], shifter)["found"] == [True]
    found = weights.tuning(machine, 0, shifter)
    assert (found.tuned, found.silent, found.other, found.lobes) == (16, 7, 1, 16)
    order = weights.in_order(machine)
    assert sorted(order.tolist()) == list(range(24))
    written = [text.get_text() for text in fig4_layout.figure_of(machine, order, "").axes[0].texts]
    model, guide = machine
    for name, values in {
        "1-2": guide.recognition[0].weight,
        "2-1": model.generative[0].weight.log(),
        "2-3": torch.cat([guide.recognition[1].weight, guide.recognition[1].leak], 1),
        "3-2": torch.cat([model.generative[1].weight.log().mT, model.generative[2].leak.log()], 1),
        "generative biases to 1": model.generative[0].leak.log(),
    }.items():
        assert f"{name}: {float(values.detach().abs().max()):.3g}" in written


def test_one_sigmoid_unit_turns_units_off_and_one_odds_unit_can_not() -> None:
    for imaging, off in (("sigmoid", 0.001), ("odds", LEAK / (1 + LEAK))):
        model, _ = solved_machines.one_top_unit(imaging, 2)
        layer = model.generative[1]
        top = torch.tensor([[0.0], [1.0]])
        with torch.no_grad():
            if imaging == "odds":  # by hand it gives the other direction an odds of 0.001
                layer.weight_unconstrained[..., 8:] = -40.0
            on = layer.distribution(layer.drive(top)).probs
        assert on[:, 1, :8].mean() == pytest.approx(0.2, abs=0.01)
        assert on[:, 0, :8].mean() == pytest.approx(off, abs=5e-4)
        assert on[:, 1, 8:16].mean() == pytest.approx(off, abs=5e-4)


@pytest.mark.parametrize("data", multiple_causes.DATA)
def test_a_cause_is_found_if_a_unit_turns_on_just_its_pixels(data: str) -> None:
    train, distribution, causes, on = multiple_causes.DATA[data]()
    assert train.shape[1] == causes.shape[1]
    alone = distribution.probabilities[(distribution.patterns == causes[0]).all(1)]
    assert float(alone) == pytest.approx(on * (1 - on) ** 7, rel=1e-9)
    model = BeliefNetwork(multiple_causes.SIZES, "odds", restarts=2, seed=0)
    with torch.no_grad():
        model.generative[0].weight = torch.where(causes, 20.0, 1e-3).repeat(2, 1, 1)
        wrong = model.generative[0].weight.clone()
        wrong[1, 0, 1] = 20.0 if not causes[0, 1] else 1e-3
        model.generative[0].weight = wrong
    assert multiple_causes.found(model, causes) == [8, 7]


def test_a_training_of_more_iterations_goes_on_where_that_of_fewer_ended(tmp_path: Path) -> None:
    def trained(folder: str, iterations: int) -> BeliefNetwork:
        machine, _ = many_iterations.trained(tmp_path / folder, "at once", iterations, restarts=2, seed=0, per_step=1)
        return machine[0]

    trained("in two", 1)
    again, at_a_stretch = trained("in two", 2), trained("at a stretch", 2)
    assert torch.equal(again.generative[0].weight, at_a_stretch.generative[0].weight)


def test_the_entropy_of_the_quantised_pictures_is_that_of_their_draws() -> None:
    x = vector_quantiser.pictures(4000, 0)
    flips = (x.unflatten(-1, (2, 8))[:, :, None] - vector_quantiser.HALF).abs().sum(-1)
    p = (0.02**flips * 0.98 ** (8 - flips)).mean(-1).prod(-1)
    bits = -p.log2()
    z = (bits.mean() - vector_quantiser.entropy()) / (bits.std() / len(bits) ** 0.5)
    assert abs(float(z)) < 4
