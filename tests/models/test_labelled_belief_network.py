"""A class on top: known for some rows, latent for others."""

from __future__ import annotations

from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.likelihoods import mixed_with_prior
from tests.checker import Z_THRESHOLD
from tests.suite.members import far_from_the_start

SIZES, LABELS = (5, 3, 2), 3


def pair(restarts: int = 1) -> tuple[helm.LabelledBeliefNetwork, helm.LabelledRecognition]:
    made = (
        kind(SIZES, labels=LABELS, restarts=restarts, seed=0)
        for kind in (helm.LabelledBeliefNetwork, helm.LabelledRecognition)
    )
    model, guide = (far_from_the_start(each) for each in made)
    return model, guide


def rows(number: int = 6) -> Tensor:
    return (torch.rand(number, SIZES[0], generator=torch.Generator().manual_seed(0)) < 0.5).double()


def test_unlabelled_rows_are_the_sum_over_labels_of_labelled_ones() -> None:
    model, _ = pair()
    x = rows()
    of_label = [
        helm.exact_posterior(model, None, {"x": x, "label": torch.full((len(x),), label)}).log_likelihood
        for label in range(LABELS)
    ]
    posterior = helm.exact_posterior(model, None, x)
    assert torch.allclose(torch.stack(of_label).logsumexp(0), posterior.log_likelihood, rtol=1e-10)
    assert torch.allclose(torch.stack(of_label, -1).softmax(-1), posterior.marginals["class"], rtol=1e-8)


def test_each_row_may_have_a_label_or_none() -> None:
    model, guide = pair()
    x, label = rows(), torch.tensor([0.0, torch.nan, 2.0, torch.nan, 1.0, 1.0])
    mixed = helm.exact_posterior(model, guide, {"x": x, "label": label}).log_likelihood
    without = helm.exact_posterior(model, guide, x).log_likelihood
    labelled = helm.exact_posterior(model, guide, {"x": x, "label": label.nan_to_num(0.0).long()}).log_likelihood
    assert torch.allclose(mixed, torch.where(label.isnan(), without, labelled), rtol=1e-12)


@pytest.mark.parametrize("mixed", [False, True], ids=["guide", "mixed with the prior"])
def test_importance_sampling_finds_the_likelihood_of_rows_with_and_without_a_label(mixed: bool) -> None:
    model, guide = pair()
    data = {"x": rows(), "label": torch.tensor([0.0, torch.nan, 2.0, torch.nan, 1.0, 1.0])}
    exact = helm.log_likelihood(model, None, data, method="exact").table.log_likelihood
    proposal = mixed_with_prior(model, guide) if mixed else guide
    found = helm.log_likelihood(model, proposal, data, num_samples=5000).table
    assert float(((found.log_likelihood - exact) / found.stderr).abs().max()) < Z_THRESHOLD


def test_label_probabilities_are_those_of_the_posterior() -> None:
    model, guide = pair(restarts=2)
    found = helm.label_probabilities(model, guide, {"x": rows(), "label": torch.zeros(6)}, num_samples=5000)
    assert found.shape == (2, 6, LABELS)
    assert torch.allclose(found, helm.exact_posterior(model, None, rows()).marginals["class"], atol=0.05)


def test_a_network_with_a_condition_has_labels_as_probable() -> None:
    model, guide = (
        far_from_the_start(kind(SIZES, condition=LABELS, seed=0))
        for kind in (helm.BeliefNetwork, helm.FactorialRecognition)
    )
    log_p = [
        helm.exact_posterior(model, None, {"x": rows(), "label": torch.full((6,), label)}).log_likelihood
        for label in range(LABELS)
    ]
    found = helm.label_probabilities(model, guide, rows(), num_samples=5000)
    assert torch.allclose(found, torch.stack(log_p, -1).softmax(-1), atol=0.05)


def test_a_model_without_labels_has_none_to_tell() -> None:
    model, guide = helm.BeliefNetwork((3, 2)), helm.FactorialRecognition((3, 2))
    with pytest.raises(TypeError, match="no label to tell"):
        helm.label_probabilities(model, guide, torch.ones(1, 3))


def test_dreams_are_of_the_class_that_is_asked_for() -> None:
    model, _ = pair()
    with torch.no_grad():
        model.generative[0].weight[:, -LABELS:] = 40 * torch.eye(LABELS, SIZES[0]) - 20
        model.generative[0].learned_leak.zero_()
        model.generative[0].weight[:, :-LABELS] = 0.0
    pyro.set_rng_seed(0)
    assert torch.equal(model({"label": torch.tensor([0.0, 2.0])})[:, :3], torch.eye(3)[[0, 2]].double())
    assert model(num_data=50)[:, :3].sum(-1).eq(1).all()


def test_training_with_few_labels_finds_the_classes() -> None:
    """Rows of two kinds, of which a quarter has a label."""
    generator = torch.Generator().manual_seed(1)
    kind = torch.arange(300) % 2
    x = (torch.rand(300, 6, generator=generator) < torch.where(kind[:, None] == 1, 0.85, 0.15)).float()
    label = kind.float().masked_fill(torch.arange(300) >= 75, torch.nan)
    model, guide = (
        helm.LabelledBeliefNetwork((6, 2), labels=2, seed=0),
        helm.LabelledRecognition((6, 2), labels=2, seed=0),
    )
    data = {"x": x, "label": label}
    helm.fit(model, guide, data, scheme=helm.ExactEM(), num_epochs=40, learning_rate=0.03, progress=False, seed=0)
    found = helm.exact_posterior(model, guide, x).marginals["class"][0].argmax(-1)
    assert float((found == kind).double().mean()) > 0.95


@pytest.mark.parametrize("label", [torch.tensor([0.0, 3.0]), torch.tensor([0.5, torch.nan]), torch.tensor([-1, 0])])
def test_labels_that_are_none_are_refused(label: Tensor) -> None:
    for program in pair():
        with pytest.raises(ValueError, match="labels must be whole numbers from 0 to 2, NaN where unknown"):
            program({"x": rows(2), "label": label})


@pytest.mark.parametrize("labels", [None, 1, 2.5])
def test_numbers_of_labels_that_are_none_are_refused(labels: Any) -> None:
    for kind in (helm.LabelledBeliefNetwork, helm.LabelledRecognition):
        with pytest.raises(ValueError, match="two or more"):
            kind(SIZES, labels=labels)


def test_a_label_that_is_missing_does_not_make_the_guide_look_for_missing_units() -> None:
    model, guide = (
        helm.LabelledBeliefNetwork(SIZES, labels=LABELS, seed=0),
        helm.LabelledRecognition(SIZES, labels=LABELS, seed=0),
    )
    data = {"x": rows().float(), "label": torch.tensor([0.0, torch.nan, 2.0, torch.nan, 1.0, 1.0])}
    helm.fit(model, guide, data, scheme=helm.WakeSleep(), num_epochs=1, progress=False)
    assert not guide.recognition[0].learns_missing
    data["x"][0, 0] = torch.nan
    helm.fit(model, guide, data, scheme=helm.WakeSleep(), num_epochs=1, progress=False)
    assert guide.recognition[0].learns_missing
    assert guide.classifier.learns_missing
