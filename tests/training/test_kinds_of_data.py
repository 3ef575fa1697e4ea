"""What ``fit`` and the likelihoods take: whatever holds the same numbers gives the same machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import pyro_helm as helm
from pyro_helm.programs.packed import as_rows
from pyro_helm.schemes import Scheme

X = (torch.arange(40).reshape(10, 4) * 7 % 5 > 2).float()
LABEL = torch.arange(10) % 3


class Labelled(PyroModule):  # type: ignore[misc]
    """Pixels of a hidden unit and a label, which is a covariate."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 16).reshape(4, 4))

    def forward(self, observations: Any) -> None:
        x, label = observations["x"], observations["label"]
        assert label.dtype == torch.long
        with pyro.plate("data", len(label), dim=-1):
            h = pyro.sample("h", dist.Bernoulli(0.5))
            logits = self.weight[label] + h[..., None] * self.weight[3]
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


class Reading(PyroModule):  # type: ignore[misc]
    """Its guide, which keeps the labels that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(1, -1, 12).reshape(3, 4))
        self.shown: list[list[int]] = []

    def forward(self, observations: Any) -> None:
        x, label = observations["x"], observations["label"]
        self.shown.append(label.tolist())
        with pyro.plate("data", len(label), dim=-1):
            pyro.sample("h", dist.Bernoulli(logits=(x * self.weight[label]).sum(-1)))


def trained(data: Any, *, own: bool = True, scheme: Scheme | None = None, **settings: Any) -> tuple[Any, Any]:
    model: nn.Module = helm.BeliefNetwork((4, 3), seed=0) if own else Labelled()
    guide: nn.Module = helm.FactorialRecognition((4, 3), seed=0) if own else Reading()
    defaults = {"num_epochs": 3, "batch_size": 4, "progress": False, "valid": data}
    helm.fit(model, guide, data, scheme=scheme or helm.WakeSleep(2), **(defaults | settings))
    return model, guide


def same(one: Any, other: Any) -> bool:
    return all(
        torch.equal(p, q)
        for a, b in zip(one, other, strict=True)
        for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )


class Rows(Dataset[dict[str, Tensor]]):
    def __init__(self, x: Tensor = X) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"x": self.x[row], "label": LABEL[row]}


@pytest.mark.parametrize(
    "data",
    [X.numpy(), X.bool().numpy(), pd.DataFrame(X.numpy()).astype(bool), {"x": X}, {"x": X.numpy()}],
    ids=["array", "booleans", "frame", "mapping", "mapping of arrays"],
)
def test_the_same_numbers_give_the_same_machine(data: Any) -> None:
    model, guide = trained(X)
    assert same((model, guide), trained(data))
    for method in ("exact", "importance"):
        expected = helm.log_likelihood(model, guide, X, method=method, num_samples=20)
        found = helm.log_likelihood(model, guide, data, method=method, num_samples=20)
        pd.testing.assert_frame_equal(found.table, expected.table)
    ours, theirs = (helm.exact_posterior(model, guide, rows) for rows in (data, X))
    assert torch.equal(ours.entropy, theirs.entropy)


def test_labels_reach_both_programs_in_the_wake_and_the_sleep_phase() -> None:
    model, guide = Labelled(), Reading()
    scheme = helm.WakeSleep(2)
    scheme.loss(model, guide, observations={"x": X, "label": LABEL})
    assert guide.shown == [LABEL.tolist()] * 3  # once awake, and of each dream
    trained({"x": X, "label": LABEL}, own=False, scheme=scheme)


def test_likelihoods_of_several_observations_are_those_by_hand() -> None:
    model, guide = trained({"x": X.numpy(), "label": LABEL.numpy()}, own=False)
    data = {"x": X, "label": LABEL}
    with torch.no_grad():
        logits = model.weight[LABEL][:, None] + torch.tensor([[0.0], [1.0]]) * model.weight[3]
        joint = dist.Bernoulli(logits=logits).log_prob(X[:, None]).sum(-1) - np.log(2)
    exact = helm.log_likelihood(model, None, data, method="exact").table
    assert np.allclose(exact.log_likelihood, joint.logsumexp(-1))
    for rows in (None, "independent"):
        sampled = helm.log_likelihood(model, guide, data, num_samples=2000, rows=rows).table
        assert (abs(sampled.log_likelihood - exact.log_likelihood) < 5 * sampled.stderr + 1e-4).all()
    posterior = helm.exact_posterior(model, guide, data)
    assert torch.allclose(posterior.marginals["h"][0], joint.softmax(-1)[:, 1], atol=1e-5)


def test_rows_of_numbers_hold_what_they_were_made_of() -> None:
    seen: dict[str, Tensor] = {}

    def program(observations: dict[str, Tensor]) -> None:
        seen.update(observations)

    picture, length = torch.randn(3, 2, 2), torch.tensor([2**40, 1, 0])
    rows = as_rows(program, None, {"picture": picture, "length": length, "seen": torch.tensor([True, False, True])})
    rows.model(observations={"x": rows.x[1:]})
    assert torch.equal(seen["picture"], picture[1:])
    assert torch.equal(seen["length"], length[1:])
    assert seen["seen"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("source", [Rows(), DataLoader(Rows(), num_workers=1)], ids=["data set", "loader"])
def test_a_data_set_is_read_as_it_is_needed_to_the_same_numbers(source: Any) -> None:
    in_memory = trained({"x": X, "label": LABEL}, own=False)
    assert same(in_memory, trained(source, own=False))


def test_a_run_is_not_resumed_with_another_data_set(tmp_path: Path) -> None:
    trained(Rows(), own=False, out=tmp_path, num_epochs=1)
    with pytest.raises(ValueError, match=r"data\.some_rows\.x\.digest"):
        trained(Rows(1 - X), own=False, out=tmp_path, resume=True)
    trained(Rows(), own=False, out=tmp_path, resume=True)


def test_a_data_set_whose_rows_are_drawn_is_known_by_its_class_alone(tmp_path: Path) -> None:
    class Drawn(Rows):
        def __getitem__(self, row: int) -> dict[str, Tensor]:
            return {"x": torch.bernoulli(torch.full_like(self.x[row], 0.5)), "label": LABEL[row]}

    for epochs in (1, 2):
        trained(Drawn(), own=False, out=tmp_path, num_epochs=epochs, resume=True, valid=None)


def test_a_data_set_of_tensors_is_x() -> None:
    assert same(trained(X), trained(TensorDataset(X)))
    model, guide = trained(X)
    expected = helm.log_likelihood(model, guide, X, num_samples=5).table
    pd.testing.assert_frame_equal(helm.log_likelihood(model, guide, TensorDataset(X), num_samples=5).table, expected)


class FewLabels(Rows):
    """None of the first minibatch is labelled."""

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"x": self.x[row], "label": torch.tensor(row % 3 if row >= 5 else torch.nan)}


def test_labels_may_be_unknown_in_all_validation_data_or_in_the_first_minibatch() -> None:
    sizes, unknown = (X.shape[1], 2), torch.full((len(X),), torch.nan)
    model, guide = (kind(sizes, labels=3, seed=0) for kind in (helm.LabelledBeliefNetwork, helm.LabelledRecognition))
    settings: dict[str, Any] = {"scheme": helm.WakeSleep(), "num_epochs": 1, "batch_size": 4, "progress": False}
    few = [FewLabels()[row] for row in range(len(X))]
    label = torch.stack([row["label"] for row in few])
    helm.fit(model, guide, {"x": X, "label": label}, valid={"x": X, "label": unknown}, **settings)
    result = helm.fit(model, guide, FewLabels(), **settings)
    assert result.history.value.notna().all()
    with pytest.raises(ValueError, match=r"data has nan at row 0, column 0 .* and everywhere else"):
        helm.fit(model, guide, X * torch.nan, **settings)


def test_a_guide_without_labels_is_told_which_one_has_them() -> None:
    model = helm.LabelledBeliefNetwork((X.shape[1], 2), labels=3, seed=0)
    guide = helm.FactorialRecognition((X.shape[1], 2), seed=0)
    with pytest.raises(ValueError, match=r"no site 'label' to observe; .*; for labelled data use .*LabelledRec"):
        helm.fit(model, guide, {"x": X, "label": LABEL}, scheme=helm.WakeSleep(), num_epochs=1, progress=False)


@pytest.mark.parametrize(
    ("visible", "sentence"),
    [
        ({"visible": "poisson"}, "data has 0.5 at row 0, column 0 .*, expected a whole number from 0 at the model's"),
        (
            {"visible": "categorical", "groups": 2},
            "expected exactly one 1 in each group of units at the model's site 'x'",
        ),
    ],
)
def test_what_is_expected_is_told_in_words(visible: dict[str, Any], sentence: str) -> None:
    model = helm.BeliefNetwork((2, 2), seed=0, **visible)
    with pytest.raises(ValueError, match=sentence):
        helm.log_likelihood(model, None, torch.full((3, 2), 0.5), method="exact")


def test_what_a_model_can_not_observe_is_refused_by_what_its_sites_say() -> None:
    halves = X.clone()
    halves[7, 2] = 0.5
    sentence = r"data has 0\.5 at row 7, column 2 \(counted from 0\), expected 0 or 1 at the model's site 'x'"
    for own, data in ((True, halves), (False, {"x": halves, "label": LABEL})):
        with pytest.raises(ValueError, match=sentence):
            trained(data, own=own)
    with pytest.raises(ValueError, match="there is no site 'label' to observe; the sites are x, h1"):
        trained({"x": X, "label": LABEL})
    with pytest.raises(ValueError, match="with a data set use step='eager'"):
        trained(Rows(), own=False, step="captured")


class Counts(PyroModule):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))

    def forward(self, observations: Any) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            h = pyro.sample("h", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Poisson(self.rate[h.long()].exp()).to_event(1), obs=observations["x"])


class Counting(PyroModule):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, observations: Any) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pyro.sample("h", dist.Bernoulli(logits=observations["x"] @ self.weight))


def test_fit_takes_counts_where_the_model_does() -> None:
    counts = torch.tensor([[0.0, 7.0], [5.0, 0.0], [2.0, 2.0]])
    result = helm.fit(Counts(), Counting(), counts, scheme=helm.Reinforce(2), num_epochs=2, progress=False)
    assert bool(result.history.value.notna().all())
    with pytest.raises(ValueError, match=r"has -1\.0 at row 0, column 1 .*a whole number from 0 at the model's"):
        helm.fit(
            Counts(), Counting(), counts - 8 * (counts == 7), scheme=helm.Reinforce(2), num_epochs=2, progress=False
        )
