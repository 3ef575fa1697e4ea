"""Words about estimates: silent where they are good, specific where they are not."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from gradients import DATA, tiny_machine
from torch import Tensor

import pyro_helm as helm
from pyro_helm.likelihoods import defensive
from pyro_helm.likelihoods.diagnosis import share_missed, warning

GOOD = {name: np.full(100, value) for name, value in (("log_likelihood", -3.0), ("bound_half", -3.01), ("ess", 500.0))}
GOOD |= {"khat": np.full(100, 0.2), "stderr": np.full(100, 0.05)}


def with_bad(name: str, value: float, count: int = 10) -> dict[str, np.ndarray]:
    return GOOD | {name: np.where(np.arange(100) < count, value, GOOD[name])}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (with_bad("ess", 4.0), "10% of the data have an effective sample size below 10 of 1000: the log-likelihood is"),
        (
            with_bad("khat", 0.9) | {"stderr": np.full(100, 0.2)},
            "10% have Pareto k-hat above 0.67 and a standard error above 0.1 nats",
        ),
        (with_bad("bound_half", -4.0, 50), "the bound has grown by 0.50 nats with the last doubling"),
        (with_bad("log_likelihood", -np.inf), "10% of the data have no finite log-likelihood"),
        (with_bad("ess", 4.0) | with_bad("bound_half", -4.0, 50), "with the last doubling of the samples: the log-"),
    ],
)
def test_what_is_wrong_is_named(columns: dict[str, np.ndarray], words: str) -> None:
    assert words in warning(columns, "importance", 1000)


def test_a_few_bad_data_are_chance() -> None:
    assert warning(GOOD, "importance", 1000) == ""
    assert warning(with_bad("ess", 4.0, 5), "importance", 1000) == ""
    assert warning(GOOD | {"khat": np.full(100, np.nan)}, "importance", 10) == ""
    assert warning(with_bad("khat", 0.9), "importance", 1000) == ""  # of weights that hardly differ
    assert warning({"log_likelihood": np.zeros(3)}, "exact", 0) == ""


def test_chains_are_judged_by_their_share() -> None:
    assert "use a longer schedule or more chains" in warning(with_bad("ess", 1.1), "ais", 16)
    assert warning(with_bad("ess", 3.0), "ais", 16) == ""
    assert warning(with_bad("ess", 1.0), "ais", 1) == ""


@pytest.mark.parametrize("from_logits", [True, False])
def test_states_that_the_guide_can_not_propose_are_counted(from_logits: bool) -> None:
    machine = tiny_machine("sigmoid")
    probs = torch.tensor([1.0, 0.5]).double()

    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            h1 = dist.Bernoulli(logits=torch.tensor([30.0, 0.0]).double()) if from_logits else dist.Bernoulli(probs)
            pyro.sample("h1", h1.to_event(1))
            pyro.sample("h2", dist.Bernoulli(torch.tensor([0.5, 0.5]).double()).to_event(1))

    with torch.no_grad():
        pyro.set_rng_seed(0)
        missed = share_missed(machine.model, guide, DATA)
    every_x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 3)
    off = machine.log_joint(every_x).exp()[:, machine.states[0][:, 0] == 0].sum()
    assert missed.item() == pytest.approx(0.0 if from_logits else float(off.detach()), abs=0.04)
    scores = helm.log_likelihood(machine.model, guide, DATA, num_samples=50)
    assert scores.summary.log_likelihood.isna().item() is not from_logits
    assert ("states that the model dreams" in scores.summary.warnings.item()) is not from_logits


def test_a_category_that_is_never_proposed_is_counted() -> None:
    def model(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            topic = pyro.sample("topic", dist.Categorical(torch.tensor([0.5, 0.3, 0.2])))
            logits = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [1.0, 2.0]])[topic]
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=observations["x"])

    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            pyro.sample("topic", dist.Categorical(torch.tensor([0.0, 0.5, 0.5])))

    x = torch.ones(4, 2)
    scores = helm.log_likelihood(model, guide, x, num_samples=20)
    assert "probability zero" in scores.summary.warnings.item()
    mended = helm.log_likelihood(model, defensive(model, guide), x, num_samples=20_000)
    exact = helm.log_likelihood(model, None, x, method="exact")
    assert mended.summary.log_likelihood.item() == pytest.approx(exact.summary.log_likelihood.item(), abs=0.05)


def test_programs_that_cannot_be_shown_dreams_are_let_through() -> None:
    def model(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            h = pyro.sample("h", dist.Bernoulli(0.5))
            pixels = dist.Bernoulli(logits=h[..., None] * torch.ones(2)).to_event(1)
            pyro.sample("pixels", pixels, obs=observations["x"])

    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pyro.sample("h", dist.Bernoulli(0.7))

    assert share_missed(model, guide, torch.ones(2, 2)).tolist() == [0]
    assert helm.log_likelihood(model, guide, torch.ones(2, 2)).summary.warnings.item() == ""
