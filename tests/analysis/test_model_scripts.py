"""The parts of the scripts on guides, labels and sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import pyro_helm as helm
from analysis.few_labels import hide
from analysis.recognition_gaps import DATA, GUIDES, convergence
from analysis.suite import in_whole_groups, machines_for, summary, with_convolution
from analysis.text_as_bits import LETTERS, in_pairs, letters_of, one_by_one, sequences
from pyro_helm.experiments.machines import builder_of, machine_of


def test_guides_of_small_weights_are_settled_and_their_gain_says_so() -> None:
    x = (torch.rand(20, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    for guide in ("lateral", "iterative"):
        made: Any = machine_of(6, seed=0, restarts=2, sizes=(6, 4, 2), guide=f"{guide}_recognition")[1]
        found = convergence(made, x)
        assert found["settled"] == [1.0, 1.0]
        assert max(found["gain"]) < 1
        assert max(found["unsettled"]) < 0.05
        assert made.iterations == 3


def test_labels_are_hidden_but_for_as_many_of_each_class() -> None:
    shown = hide(torch.arange(200).float() % 10, 30)
    assert torch.equal(shown[~shown.isnan()], torch.arange(10).repeat(3).float())


def test_letters_are_bits_and_lengths() -> None:
    found = sequences(letters_of(["ab", "zaz"]))
    assert found["length"].tolist() == [2, 3]
    assert found["x"].shape == (2, 10, 5)
    assert (found["x"][1, 0] @ (2 ** torch.arange(5.0))).item() == 25


def test_frequencies_of_letters_make_distributions() -> None:
    train, every = letters_of(["abba", "abc"]), torch.full((LETTERS, 10), -1)
    every[:, 0] = torch.arange(LETTERS)
    for model in (one_by_one, in_pairs):
        assert torch.allclose(model(train, every).exp().sum(), torch.tensor(1.0))
    assert float(in_pairs(train, letters_of(["ab"]))) > float(in_pairs(train, letters_of(["ba"])))


def test_the_machines_of_the_gaps_are_those_named() -> None:
    made = [builder_of(DATA["shifter"], {"guide": f"{name}_recognition"})(32, seed=0, restarts=2) for name in GUIDES]
    kinds = (helm.FactorialRecognition, helm.LateralRecognition, helm.IterativeRecognition)
    for (model, guide), kind in zip(made, kinds, strict=True):
        assert isinstance(model, helm.BeliefNetwork)
        assert isinstance(guide, kind)


def test_groups_are_made_whole_by_a_unit_for_what_is_missing() -> None:
    rows = torch.tensor([[1.0, 0, 1, 0, 1], [0, 0, 1, 1, 0]])  # an attribute that may be missing, one value, another
    found = in_whole_groups(rows, (2, 1, 2), [False, True, True])
    assert found.tolist() == [[1, 0, 0, 0, 1], [0, 0, 1, 1, 0]]


def test_the_suite_has_a_row_for_each_machine_with_its_gap_and_cost(tmp_path: Path) -> None:
    bars = helm.load_data("bars")
    rows = helm.Data("bars", bars.train[:60], bars.valid[:20], bars.test[:20])
    study = helm.Study(
        tmp_path,
        datasets=[{"data": rows, "machines": machines_for("bars", None)[:2]}],
        schemes=["reweighted_wake_sleep"],
        settings={"step": "eager"},
        budget="2 steps",
        restarts=2,
        scores={"num_samples": 5, "splits": ["test"]},
    )
    study.run(workers=1, progress=False)
    found = summary(study).set_index("machine")
    table = study.table()
    assert list(found.index) == ["plain", "lateral recognition"]
    plain = table[(table.machine == "plain") & (table.split == "test")].set_index("metric").value
    assert abs(found.log_likelihood["plain"] - plain["log_likelihood"].mean()) < 1e-9
    assert abs(found.gap["plain"] - (plain["log_likelihood"].mean() - plain["elbo"].mean())) < 1e-9
    assert found.cost["plain"] == 1
    assert (found.ms_per_step > 0).all()


def test_a_convolution_has_a_network_for_each_restart() -> None:
    guide = with_convolution((64, 4, 2), restarts=2, seed=0, height=8)
    (first, *_) = guide({"x": torch.ones(3, 64)})
    assert first.shape[-3:] == (2, 3, 4)
