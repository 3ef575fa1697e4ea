"""Dreams by label and step, and tables that hold every number that a model has learned."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import pyro_helm as helm
from tests.oracle import binary_rows
from tests.suite.members import far_from_the_start

SKIP = helm.BeliefNetwork((3, 2, 2), skip=True, restarts=2, seed=0)
CONDITION = helm.BeliefNetwork((3, 2), condition=3, imaging=("odds", "sigmoid"), seed=0)
LABELLED = helm.LabelledBeliefNetwork((3, 2), labels=3, seed=0)
LATERAL = helm.BeliefNetwork((4, 2), lateral=(True, False), blocks=2, seed=0)
GAUSSIAN = helm.BeliefNetwork((3, 2), visible="gaussian", seed=0)


@pytest.mark.parametrize(
    ("model", "without"),
    [(SKIP, 0), (CONDITION, 0), (LABELLED, 0), (LATERAL, 16 - 4), (GAUSSIAN, 0)],
    ids=["skip", "condition", "labelled", "lateral", "gaussian"],
)
def test_every_number_of_a_model_is_a_row(model: Any, without: int) -> None:
    table = helm.weight_table(model)
    assert len(table) == sum(value.numel() for value in model.parameters()) - without
    assert not table.duplicated(["restart", "layer", "cause", "unit"]).any()


def of(table: Any, cause: str, unit: str, restart: int = 0) -> float:
    return float(table[(table.restart == restart) & (table.cause == cause) & (table.unit == unit)].weight.item())


def test_causes_bear_the_names_of_what_drives_a_layer() -> None:
    # of x the causes are h1, then h2, and those of a label come last
    assert of(helm.weight_table(SKIP), "h2.1", "x.2", restart=1) == SKIP.generative[0].weight[1, 3, 2].item()
    assert of(helm.weight_table(CONDITION), "label.2", "x.0") == CONDITION.generative[0].weight[0, 4, 0].item()
    assert of(helm.weight_table(LABELLED), "class.1", "h1.1") == LABELLED.generative[1].weight[0, 1, 1].item()
    assert of(helm.weight_table(LABELLED), "leak", "class.2") == LABELLED.class_prior.leak[0, 0, 2].item()
    lateral = helm.weight_table(LATERAL, names=list("abcd"))
    assert of(lateral, "b", "c") == LATERAL.generative[0].lateral[0, 1, 2].item()
    assert set(lateral[lateral.unit == "d"].cause) == {"leak", "h1.0", "h1.1", "a", "b"}  # not c, of its own block
    assert of(helm.weight_table(GAUSSIAN), "scale", "x.1") == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["condition", "labelled"])
def test_dreams_of_a_label_are_of_the_distribution_given_it(kind: str) -> None:
    settings: dict[str, Any] = {"condition": 3} if kind == "condition" else {"labels": 3}
    make: Any = helm.BeliefNetwork if kind == "condition" else helm.LabelledBeliefNetwork
    model = far_from_the_start(make((3, 2), seed=0, **settings))
    every = binary_rows(3)
    data = {"x": every, "label": torch.full((len(every),), 2.0)}
    exact = helm.log_likelihood(model, None, data, method="exact").table.log_likelihood
    expected = torch.tensor(exact.to_numpy()).softmax(0) @ every
    dreamt = torch.tensor(helm.dreams(model, 4000, label=2).to_numpy())
    z = (dreamt.mean(0) - expected) / (expected * (1 - expected) / 4000).sqrt()
    assert float(z.abs().max()) < 4.5
    assert helm.dreams(model, label=[0, 1, 2], names=list("abc")).shape == (3, 3)


def test_dreams_without_their_label_or_with_one_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match=r"conditioned on one of 3 labels; give label=, a number from 0 to 2"):
        helm.dreams(CONDITION)
    with pytest.raises(ValueError, match=r"label must be one number, or one for each of the 4 dreams, got values"):
        helm.dreams(CONDITION, 4, label=[0, 1])
    with pytest.raises(ValueError, match=r"the model has no labels, got label=1"):
        helm.dreams(SKIP, label=1)
    assert len(helm.dreams(LABELLED)) == 100
    assert len(helm.dreams(LABELLED, label=[float("nan"), 1])) == 2


def test_dreams_of_sequences_have_the_steps_that_are_asked_for() -> None:
    model = helm.TemporalBeliefNetwork((2, 2), restarts=2, seed=0)
    found = helm.dreams(model, 5, num_steps=3)
    assert found.columns.tolist() == ["x.0.0", "x.0.1", "x.1.0", "x.1.1", "x.2.0", "x.2.1"]
    assert found.index.names == ["restart", "datum"]
    assert helm.dreams(model, 1, num_steps=2, names=["a", "b"]).columns.tolist() == ["a.0", "b.0", "a.1", "b.1"]
    with pytest.raises(ValueError, match="num_steps is for networks of sequences, but the model is a BeliefNetwork"):
        helm.dreams(SKIP, num_steps=3)
