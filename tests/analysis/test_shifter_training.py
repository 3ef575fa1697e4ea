"""How shifter machines are judged: a dead top layer reads nothing, the intended solution everything."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import pyro_helm as helm
from analysis.paper.best_known import by_hand
from analysis.paper.shifter_training import (
    LEAK,
    best_threshold,
    direction_accuracy,
    new_machine,
    solved,
    train_by_recipe,
)
from analysis.paper.weights import rivals, shifted_pairs, tuning


@pytest.fixture(scope="module")
def shifter() -> helm.Data:
    return helm.load_data("shifter")


def test_the_direction_can_be_read_off_a_machine_set_by_hand(shifter: helm.Data) -> None:
    _, guide = by_hand(2)
    assert direction_accuracy(guide, shifter, draws=100).min() > 0.99


def test_the_threshold_is_midway_between_two_patterns_so_that_other_draws_read_the_same() -> None:
    place, left = torch.tensor([[0.1, 0.5, 0.3]]), torch.tensor([0.2, 0.0, 0.3])
    threshold, left_above = best_threshold(place, left, right=torch.tensor([0.0, 0.5, 0.0]))
    assert threshold.item() == pytest.approx(0.4)
    assert not left_above


@pytest.mark.parametrize("logit", [-50.0, -3.0, 50.0])
def test_nothing_can_be_read_off_a_top_layer_that_does_not_look(logit: float, shifter: helm.Data) -> None:
    _, guide = new_machine(3, seed=0)
    with torch.no_grad():
        guide.recognition[1].weight.zero_()
        guide.recognition[1].learned_leak.fill_(logit)
    # 0.5 but for the noise of the draws, of which a threshold fitted to them would make 0.6
    assert (direction_accuracy(guide, shifter) - 0.5).abs().max() < 0.1


def test_a_machine_has_solved_the_shifter_if_it_is_likely_enough_and_tells_the_direction() -> None:
    judged = pd.DataFrame({"log_likelihood": [-5.0, -5.0, -5.3, -5.24], "accuracy": [1.0, 0.98, 1.0, 0.99]})
    assert solved(judged, best_known=-5.0).tolist() == [True, False, False, True]


def test_pairs_are_what_patterns_of_one_pixel_show(shifter: helm.Data) -> None:
    assert shifter.distribution is not None
    patterns = shifter.distribution.patterns
    of_one_pixel = patterns[patterns.sum(1) == 4].bool()
    pairs = shifted_pairs()
    assert {tuple(row) for row in pairs.tolist()} == {tuple(row) for row in of_one_pixel.tolist()}


def test_sixteen_units_of_a_machine_set_by_hand_are_tuned_and_the_rest_silent(shifter: helm.Data) -> None:
    found = tuning(by_hand(1, noise=0.0), 0, shifter)
    assert (found.tuned, found.silent, found.other) == (16, 8, 0)
    # set by hand, recognition looks at a unit's own pixels only
    assert found.lobes == 0


@pytest.mark.parametrize("imaging", ["sigmoid", "noisy_or", "odds"])
def test_leaks_are_those_of_the_papers_figure(imaging: str) -> None:
    model, _ = new_machine(1, seed=0, imaging=imaging)
    on = [float(layer.distribution(layer.fixed_leak).probs) for layer in model.generative[1:]]
    expected = LEAK if imaging == "noisy_or" else LEAK / (1 + LEAK)
    assert on == pytest.approx([expected, expected], rel=1e-6)
    assert model.learned_leak == (True, False, True)


def test_training_layer_by_layer_hands_the_lower_layers_over(shifter: helm.Data) -> None:
    model, guide = new_machine(2, seed=0)
    history = train_by_recipe(
        model, guide, shifter.train[:200], scheme=helm.WakeSleep(), layerwise=True, recognition_bias=-3.0,
        learning_rate=1e-12, lower_epochs=1, num_epochs=1,
    ).history  # fmt: skip
    start, first_guide = new_machine(2, seed=0, sizes=(32, 24))
    for ours, theirs in (
        (model.generative[0], start.generative[0]),
        (guide.recognition[0], first_guide.recognition[0]),
    ):
        assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
    assert (guide.recognition[0].learned_leak == -3.0).all()
    assert history.sizes.unique().tolist() == ["32-24", "32-24-2"]
    assert history.epoch.tolist() == [1, 1, 2, 2]
    assert history.seconds.is_monotonic_increasing


def test_rivals_make_up_pairs_of_the_opposite_shift() -> None:
    pairs, rivalling = shifted_pairs(), rivals()
    left, right = pairs[:8], pairs[8:]
    for pair, rival, opposite in zip(pairs, rivalling, [right] * 8 + [left] * 8, strict=True):
        assert not (pair & rival).any()
        both = pair | rival
        # of the opposite shift, just two pairs are in the union: one with the original, one with the copy
        assert int((opposite & both == opposite).all(-1).sum()) == 2
