"""Codes, draws and predictions against enumeration, with the names of units and rows."""

from __future__ import annotations

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from tests.checker import replicates, tiny_machine
from tests.oracle import Machine, binary_rows
from tests.suite.members import far_from_the_start
from tests.training.test_kinds_of_data import LABEL, Labelled, Reading
from tests.training.test_kinds_of_data import X as PIXELS

HIDDEN = ["h1.0", "h1.1", "h2.0", "h2.1"]
X = torch.tensor([[1.0, 0, 1], [0, 1, 1]], dtype=torch.float64)
FRAME = pd.DataFrame(X.numpy(), columns=["a", "b", "c"], index=["p", "q"])


@pytest.fixture
def machine() -> Machine:
    return tiny_machine("odds")


def states(machine: Machine) -> torch.Tensor:
    return torch.cat(machine.states, -1)


def test_codes_are_means_of_the_guide_or_of_the_posterior(machine: Machine) -> None:
    by_guide = helm.codes(machine.model, machine.guide, FRAME, num_samples=4000)
    assert by_guide.columns.tolist() == HIDDEN
    assert by_guide.index.tolist() == ["p", "q"]
    expected = machine.log_guide(X).exp().detach() @ states(machine)
    assert torch.allclose(torch.tensor(by_guide.to_numpy()), expected, atol=0.02)
    assert torch.allclose(torch.tensor(by_guide.to_numpy())[:, :2], expected[:, :2])  # without a draw
    weighted = helm.codes(machine.model, machine.guide, FRAME, method="importance", num_samples=20_000)
    assert torch.allclose(torch.tensor(weighted.to_numpy()), machine.posterior(X) @ states(machine), atol=0.03)
    with pytest.raises(ValueError, match="method must be recognition or importance, got 'exact'"):
        helm.codes(machine.model, machine.guide, FRAME, method="exact")


def test_posterior_draws_and_what_they_predict(machine: Machine) -> None:
    settings = {"num_draws": 2000, "num_samples": 4000}
    draws = helm.posterior_draws(machine.model, machine.guide, FRAME, **settings)
    assert draws.index.names == ["draw", "datum"]
    posterior = machine.posterior(X)
    found = torch.tensor(draws.groupby("datum").mean().to_numpy())
    assert torch.allclose(found, posterior @ states(machine), atol=0.06)
    predicted = helm.posterior_predictive(machine.model, machine.guide, FRAME, **settings)
    assert predicted.columns.tolist() == ["a", "b", "c"]
    every = binary_rows(3)
    given = (machine.log_joint(every) - machine.log_joint(every).logsumexp(0)).exp().detach()  # p(x | h)
    expected = posterior @ (given.T @ every)
    assert torch.allclose(torch.tensor(predicted.groupby("datum").mean().to_numpy()), expected, atol=0.06)


def test_reconstructions_are_what_the_guide_s_causes_image(machine: Machine) -> None:
    every = binary_rows(3)
    given = (machine.log_joint(every) - machine.log_joint(every).logsumexp(0)).exp().detach()
    expected = machine.log_guide(X).exp().detach() @ (given.T @ every)
    found = helm.reconstructions(machine.model, machine.guide, FRAME, num_samples=4000)
    assert torch.allclose(torch.tensor(found.to_numpy()), expected, atol=0.03)


def test_dreams_and_weights_bear_the_names_of_units(machine: Machine) -> None:
    dreamt = helm.dreams(machine.model, 4000, names=["a", "b", "c"])
    every = binary_rows(3)
    expected = machine.log_evidence(every).exp().detach() @ every
    assert torch.allclose(torch.tensor(dreamt.mean().to_numpy()), expected, atol=0.04)
    weights = helm.weight_table(machine.model, names=["a", "b", "c"])
    found = weights[(weights.cause == "h1.1") & (weights.unit == "c")].weight.item()
    assert found == pytest.approx(machine.model.generative[0].weight[0, 1, 2].item())
    assert len(weights) == 3 + 6 + 2 + 4 + 2
    with pytest.raises(ValueError, match="names must be 3, one for each visible unit, got 2"):
        helm.dreams(machine.model, 2, names=["a", "b"])


def test_restarts_stand_side_by_side(machine: Machine) -> None:
    model, guide = replicates(machine, 2)
    assert helm.codes(model, guide, FRAME).index.tolist() == [(0, "p"), (0, "q"), (1, "p"), (1, "q")]
    assert helm.posterior_predictive(model, guide, X, num_draws=3).index.names == ["draw", "restart", "datum"]
    assert len(helm.dreams(model, 5)) == 10
    assert helm.weight_table(model).restart.unique().tolist() == [0, 1]


def test_a_program_of_one_s_own_with_labels_has_codes_too() -> None:
    data = {"x": PIXELS, "label": LABEL}
    found = helm.codes(Labelled(), Reading(), data, method="importance", num_samples=2000)
    exact = helm.exact_posterior(Labelled(), None, data).marginals["h"][0]
    assert found.columns.tolist() == ["h.0"]
    assert torch.allclose(torch.tensor(found.to_numpy())[:, 0], exact, atol=0.05)


def mixture(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", len(observations["x"]), dim=-1):
        z = pyro.sample("z", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
        probs = torch.tensor([[0.9, 0.2], [0.5, 0.5], [0.1, 0.7]])[z]
        pyro.sample("x", dist.Bernoulli(probs).to_event(1), obs=observations["x"])


def component(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", len(observations["x"]), dim=-1):
        pyro.sample("z", dist.Categorical(logits=observations["x"] @ torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 1.0]])))


def test_codes_of_a_categorical_site_are_the_probabilities_of_its_values() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    found = helm.codes(mixture, component, x)
    assert found.columns.tolist() == ["z.0", "z.1", "z.2"]
    expected = (x @ torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 1.0]])).softmax(-1)
    torch.testing.assert_close(torch.tensor(found.to_numpy()), expected)
    weighted = helm.codes(mixture, component, x, method="importance", num_samples=5000)
    exact = helm.exact_posterior(mixture, None, x).marginals["z"][0]
    assert torch.allclose(torch.tensor(weighted.to_numpy()), exact.float(), atol=0.05)  # 5 standard errors at the least
    assert helm.plots.code_map(mixture, component, x).axes[0].get_title() == "Codes of recognition (z)"
    helm.plots.posterior_chart(helm.exact_posterior(mixture, component, x), component)


def test_what_only_layered_networks_have_is_refused_of_other_programs() -> None:
    for refused in (
        lambda: helm.dreams(mixture),  # type: ignore[arg-type]
        lambda: helm.weight_table(mixture),  # type: ignore[arg-type]
        lambda: helm.plots.weight_diagram(mixture, component),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=r"a BeliefNetwork.*, got a function"):
            refused()


def test_codes_of_sequences_are_means_of_the_guide_or_of_the_posterior() -> None:
    model = far_from_the_start(helm.TemporalBeliefNetwork((2, 1), seed=0))
    guide = far_from_the_start(helm.TemporalRecognition((2, 1), seed=0), seed=5)
    x = torch.tensor([[[1.0, 0], [0, 1]], [[1, 1], [0, 0]]], dtype=torch.float64)
    data = {"x": x, "length": torch.tensor([2, 1])}
    exact = helm.exact_posterior(model, guide, data)
    weighted = helm.codes(model, guide, data, method="importance", num_samples=8000)
    assert weighted.columns.tolist() == ["h1.0.0", "h1.1.0"]
    inside = torch.tensor([[True, True], [True, False]])
    expected = torch.where(inside, exact.marginals["h1"][0].flatten(1).double(), 0.0)
    assert torch.allclose(torch.tensor(weighted.to_numpy()), expected, atol=0.03)  # 5 standard errors
    by_guide = helm.codes(model, guide, data, num_samples=8000)
    layer = guide.recognition[0]
    start = torch.sigmoid(x[:, 0] @ layer.weight[0] + layer.leak[0] + layer.first_leak[0]).detach()
    later = x[:, 1] @ layer.weight[0] + layer.leak[0]
    mean = start * torch.sigmoid(later + layer.before[0]) + (1 - start) * torch.sigmoid(later)
    assert torch.allclose(torch.tensor(by_guide.to_numpy())[:, :1], start, atol=1e-6)
    assert torch.allclose(torch.tensor(by_guide.to_numpy())[:1, 1:], mean.detach()[:1], atol=0.02)
    assert by_guide.loc[1, "h1.1.0"] == 0  # after the end
    assert helm.reconstructions(model, guide, data).shape == (2, 4)
    assert helm.posterior_draws(model, guide, data, num_draws=3).shape == (6, 2)
    assert helm.posterior_predictive(model, guide, data, num_draws=3).shape == (6, 4)


def test_layers_with_lateral_connections_have_codes_and_reconstructions() -> None:
    model = far_from_the_start(helm.BeliefNetwork((3, 2), lateral=True, seed=0))
    guide = far_from_the_start(helm.AutoregressiveRecognition((3, 2), seed=0), seed=5)
    data = X[:1]
    states = binary_rows(2)
    layer = guide.recognition[0]
    drive = data @ layer.weight[0] + layer.leak[0] + states @ layer.lateral_weight
    q = dist.Bernoulli(logits=drive).log_prob(states).sum(-1).exp().detach()
    codes = torch.tensor(helm.codes(model, guide, data, num_samples=8000).to_numpy())
    assert torch.allclose(codes, (q @ states)[None], atol=0.03)
    every = binary_rows(3)
    visible = model.generative[0]
    drives = (states @ visible.weight[0] + visible.leak[0])[:, None] + every @ visible.lateral_weight
    given = dist.Bernoulli(logits=drives).log_prob(every).sum(-1).exp().detach()
    found = torch.tensor(helm.reconstructions(model, guide, data, num_samples=8000).to_numpy())
    assert torch.allclose(found, (q @ given @ every)[None], atol=0.03)
