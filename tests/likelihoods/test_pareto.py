"""Pareto k-hat: Pyro's own fit for one tail, the shape that was drawn from, and what has no tail."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.ops.stats import fit_generalized_pareto

from pyro_helm.likelihoods.pareto import LARGEST_TAIL, khat_threshold, pareto_khat, tail_length


def largest(log_weights: torch.Tensor) -> torch.Tensor:
    return log_weights.topk(tail_length(len(log_weights)) + 1, dim=0).values


@settings(max_examples=30, deadline=None)
@given(shape=st.floats(0.1, 2.0), seed=st.integers(0, 1000), number=st.sampled_from([30, 100, 1000]))
def test_it_agrees_with_pyros_fit_of_a_single_tail(shape: float, seed: int, number: int) -> None:
    log_weights = -shape * torch.rand(number, 3, generator=torch.Generator().manual_seed(seed)).double().log()
    ours = pareto_khat(largest(log_weights))
    for column in range(3):
        weights = largest(log_weights[:, column]).exp()
        theirs, _ = fit_generalized_pareto((weights - weights.min())[:-1])
        assert float(ours[column]) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("shape", [0.3, 0.7, 1.2])
def test_it_finds_the_shape_of_pareto_weights_whatever_their_scale(shape: float) -> None:
    log_weights = -shape * torch.rand(10_000, 50, generator=torch.Generator().manual_seed(0)).double().log()
    khat = pareto_khat(largest(log_weights))
    assert float(khat.mean()) == pytest.approx(shape, abs=0.08)  # a prior draws it towards 0.5
    assert torch.allclose(pareto_khat(largest(log_weights - 700)), khat)


def test_weights_that_are_alike_have_no_tail() -> None:
    assert pareto_khat(torch.zeros(20, 2)).tolist() == [0, 0]


def test_a_tail_that_is_tied_with_its_beginning_is_fitted_all_the_same() -> None:
    uniform = torch.rand(1000, 20, generator=torch.Generator().manual_seed(0)).double()
    heavy = (-1.2 * uniform.log()).clamp(min=3.4)  # where the largest 60 begin
    assert float(pareto_khat(largest(heavy)).mean()) > 0.7


def test_too_few_or_broken_weights_tell_nothing() -> None:
    assert tail_length(20) == 0
    assert pareto_khat(torch.zeros(1, 2)).isnan().all()
    broken = torch.randn(96, 2)
    broken[3, 0] = torch.nan
    assert pareto_khat(broken).isnan().tolist() == [True, False]


def test_the_tail_is_bounded_and_the_threshold_grows_to_its_limit() -> None:
    assert tail_length(10**9) == LARGEST_TAIL
    assert khat_threshold(100) == pytest.approx(0.5)
    assert khat_threshold(10**9) == 0.7
