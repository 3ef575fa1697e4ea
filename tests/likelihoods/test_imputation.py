"""Imputation against enumeration: means, spread, errors and draws of what is missing."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.likelihoods import imputation
from tests.oracle import Machine, binary_rows
from tests.schemes.test_missing_values import DATA, Incomplete, completions, machine, many
from tests.suite.members import far_from_the_start

NUM_SAMPLES = 5000


def posterior(exact: Incomplete, row: Tensor) -> tuple[Tensor, Tensor]:
    """Every completion of a row, and its probability given what is observed."""
    rows = completions(row)
    return rows, Machine(exact.model, exact.guide).log_evidence(rows).softmax(0).detach()


@pytest.mark.parametrize("imaging", ["sigmoid", "noisy_or", "odds"])
def test_means_are_those_of_every_completion(imaging: str) -> None:
    exact = machine(imaging)
    found = helm.impute(exact.model, exact.guide, DATA, num_samples=NUM_SAMPLES, num_draws=2000)
    assert found.mean.shape == found.std.shape == DATA.shape
    assert found.draws.shape == (2000, *DATA.shape)
    observed = ~DATA.isnan()
    assert torch.equal(found.mean[observed], DATA[observed])
    assert not found.std[observed].any()
    assert bool((found.draws == DATA)[:, observed].all())
    for row, mean, std, error, draws in zip(
        DATA, found.mean, found.std, found.stderr, found.draws.movedim(1, 0), strict=True
    ):
        rows, chance = posterior(exact, row)
        expected = chance @ rows
        assert bool(((mean - expected).abs() <= 4.5 * error + 1e-9).all())
        assert torch.allclose(std, (expected * (1 - expected)).sqrt(), atol=0.02)
        # whole rows, in which what is dependent is drawn together
        share = (draws[:, None] == rows).all(-1).double().mean(0)
        assert bool(((share - chance).abs() < 4.8 * (chance * (1 - chance) / 2000).sqrt() + 1e-9).all())


def test_the_error_is_that_of_repeated_estimates() -> None:
    # of 100 replicates the spread is known within 7 %: an error a third too small or too large is seen
    model, guide = many(machine("odds"), 100)
    found = helm.impute(model, guide, DATA, num_samples=400, num_draws=1)
    told = found.stderr.square().mean(0).sqrt()
    missing = DATA.isnan()
    assert bool(((told / found.mean.std(0))[missing] - 1).abs().max() < 0.3)


def test_pieces_of_samples_and_rows_are_the_same_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = machine("sigmoid")
    whole = helm.impute(exact.model, exact.guide, DATA, num_samples=3000, num_draws=1500)
    monkeypatch.setattr(imputation, "NUMBERS_AT_ONCE", 900)  # 300 samples of one row
    pieces = helm.impute(exact.model, exact.guide, DATA, num_samples=3000, num_draws=1500)
    together = helm.impute(exact.model, exact.guide, DATA, num_samples=3000, num_draws=1500, rows="together")
    for parts in (pieces, together):
        assert torch.allclose(parts.mean, whole.mean, atol=0.03)
        assert torch.allclose(parts.stderr, whole.stderr, rtol=0.3)
        assert torch.allclose(parts.draws.mean(0), whole.mean, atol=0.06)
        assert torch.allclose(parts.ess, whole.ess, rtol=0.1)


def test_restarts_are_imputed_side_by_side() -> None:
    exact = machine("sigmoid")
    model, guide = many(exact, 3)
    found = helm.impute(model, guide, DATA, num_samples=4000, num_draws=5)
    assert found.mean.shape == (3, *DATA.shape)
    assert found.draws.shape == (5, 3, *DATA.shape)
    assert found.ess.shape == (3, len(DATA))
    one = helm.impute(exact.model, exact.guide, DATA, num_samples=4000)
    assert torch.allclose(found.mean, one.mean.expand(3, -1, -1), atol=0.05)


def counts(observations: dict[str, Tensor]) -> None:
    """A program of one's own that masks its missing values: counts of two rates."""
    x = observations["x"]
    with pyro.plate("data", len(x), dim=-1):
        high = pyro.sample("high", dist.Bernoulli(0.5))
        rate = (1 + 9 * high)[..., None].expand(*high.shape, 2)
        pyro.sample("counts", dist.Poisson(rate).mask(~x.isnan()).to_event(1), obs=x.nan_to_num())


def even(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", len(observations["x"]), dim=-1):
        pyro.sample("high", dist.Bernoulli(0.5))


def test_any_program_that_masks_its_missing_values_can_be_asked() -> None:
    x = torch.tensor([[9.0, torch.nan], [1.0, torch.nan], [torch.nan, torch.nan]])
    found = helm.impute(counts, even, x, num_samples=4000)
    odds = (10 / 1) ** x[:2, 0] * torch.exp(torch.tensor(-9.0))
    high = odds / (1 + odds)
    assert torch.allclose(found.mean[:2, 1], 1 + 9 * high, atol=1e-3)
    assert torch.allclose(found.mean[2], torch.tensor(5.5), atol=0.3)
    assert torch.allclose(found.std[2], torch.tensor((4.5**2 + 5.5) ** 0.5), atol=0.1)  # of the rates, and of counts


def test_what_can_not_be_imputed_is_refused() -> None:
    exact = machine("sigmoid")
    with pytest.raises(
        ValueError, match=r"data has 2\.0 at row 0, column 0 .*, expected 0 or 1 at the model's site 'x'"
    ):
        helm.impute(exact.model, exact.guide, 2 + 0 * binary_rows(3))
    with pytest.raises(ValueError, match="num_draws must be at least 1"):
        helm.impute(exact.model, exact.guide, DATA, num_draws=0)


@pytest.mark.parametrize("imaging", ["sigmoid", "noisy_or", "odds"])
def test_likelihoods_are_those_of_what_is_observed(imaging: str) -> None:
    exact = machine(imaging)
    x = torch.cat([DATA, DATA[:1]])
    expected = exact.log_evidence(x).detach()
    layers = helm.log_likelihood(exact.model, None, x, method="exact").table
    assert torch.allclose(torch.tensor(layers.log_likelihood.to_numpy()), expected, atol=1e-12)
    for method, start in (("importance", "guide"), ("ais", "guide"), ("ais", "prior")):
        settings: Any = {"num_samples": 4000, "num_chains": 400, "schedule": 30, "start": start}
        table = helm.log_likelihood(exact.model, exact.guide, x, method=method, **settings).table
        z = (table.log_likelihood - expected.numpy()) / (table.stderr + 1e-7)
        assert abs(z).max() < 4.5, (method, start)


def test_exact_posteriors_are_those_given_what_is_observed() -> None:
    exact = machine("odds")
    found = helm.exact_posterior(exact.model, exact.guide, DATA)
    assert (kl := found.kl) is not None
    post, log_q = exact.posterior(DATA), exact.log_guide(DATA).detach()
    assert torch.allclose(found.marginals["h1"][0], post @ exact.states[0])
    assert torch.allclose(kl[0], (log_q.exp() * (log_q - post.log())).sum(-1))
    assert torch.allclose(found.log_likelihood[0], exact.log_evidence(DATA).detach())


GROUPS = (2, 3)
NA = torch.nan
ANSWERS = torch.tensor(
    [[1, 0, 0, 0, 1], [1, 0, NA, NA, NA], [NA, NA, 0, NA, NA], [NA, 1, NA, 1, NA]], dtype=torch.float64
)


def test_of_groups_what_is_missing_is_imputed_given_what_is_known_of_them() -> None:
    model = far_from_the_start(helm.BeliefNetwork((5, 2), visible="categorical", groups=GROUPS, seed=0))
    guide = far_from_the_start(helm.FactorialRecognition((5, 2), missing=True, seed=0), seed=5)
    every = torch.tensor([[a == 0, a == 1, b == 0, b == 1, b == 2] for a in range(2) for b in range(3)]).double()
    joint = torch.tensor(helm.log_likelihood(model, None, every, method="exact").table.log_likelihood.to_numpy())
    found = helm.impute(model, guide, ANSWERS, num_samples=NUM_SAMPLES, num_draws=2000)
    observed = helm.log_likelihood(model, None, ANSWERS, method="exact").table.log_likelihood
    for row, mean, error, std, draws, log_p in zip(
        ANSWERS, found.mean, found.stderr, found.std, found.draws.movedim(1, 0), observed, strict=True
    ):
        alike = ((every == row) | row.isnan()).all(-1)
        assert log_p == pytest.approx(joint[alike].logsumexp(0).item(), abs=1e-9)
        chance, rows = joint[alike].softmax(0), every[alike]
        expected = chance @ rows
        assert bool(((mean - expected).abs() <= 4.5 * error + 1e-9).all())
        assert torch.allclose(std, (expected * (1 - expected)).sqrt(), atol=0.02)
        share = (draws[:, None] == rows).all(-1).double().mean(0)
        assert share.sum().item() == pytest.approx(1)  # every draw has one on in each group
        assert bool(((share - chance).abs() < 4.8 * (chance * (1 - chance) / 2000).sqrt() + 1e-9).all())
    whole = helm.impute(model, guide, every, num_samples=10)
    assert torch.equal(whole.mean, every)
    assert not whole.std.any()


def test_names_of_rows_and_units_are_kept_and_other_names_of_the_data_taken() -> None:
    exact = machine("sigmoid")
    frame = pd.DataFrame(DATA.numpy(), columns=["a", "b", "c"], index=[f"row {k}" for k in range(len(DATA))])
    found = helm.impute(exact.model, exact.guide, frame, num_samples=50, num_draws=2)
    table = found.table()
    assert table.columns.tolist() == ["a", "b", "c"]
    assert table.index.tolist() == frame.index.tolist()
    assert (table.to_numpy() == found.mean.numpy()).all()
    assert found.table("draws").index.names == ["draw", "datum"]
    with pytest.raises(ValueError, match="which must be one of mean, std, stderr, draws, got 'ess'"):
        found.table("ess")
    words = torch.tensor([[9.0, torch.nan]])
    named = helm.impute(named_counts, named_even, {"words": words}, num_samples=50)
    assert named.mean[0, 1].item() == pytest.approx(10, abs=1e-3)
    assert helm.impute(
        named_counts, named_even, {"words": pd.DataFrame(words.numpy())}, num_samples=9
    ).table().shape == (1, 2)
    with pytest.raises(ValueError, match="nothing is called 'x'; the data have 'words', 'label'"):
        helm.impute(named_counts, named_even, {"words": words, "label": torch.zeros(1)})


def named_counts(observations: dict[str, Tensor]) -> None:
    counts({"x": observations["words"]})


def named_even(observations: dict[str, Tensor]) -> None:
    even({"x": observations["words"]})
