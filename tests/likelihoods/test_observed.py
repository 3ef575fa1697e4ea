"""Data at the door: zeros and ones for binary models, finite numbers for others."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_helm.likelihoods.observed import as_observed, check_data
from pyro_helm.models import BeliefNetwork


def binary(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", len(observations["x"]), dim=-1):
        pyro.sample("x", dist.Bernoulli(torch.ones(2) / 2).to_event(1), obs=observations["x"])


def gaussian(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", len(observations["x"]), dim=-1):
        pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=observations["x"])


def test_only_binary_models_want_zeros_and_ones() -> None:
    check_data(gaussian, torch.tensor([[0.3, -2.0]]))
    check_data(binary, torch.tensor([[0.0, 1.0]]))
    for model in (binary, BeliefNetwork((2, 1))):
        with pytest.raises(ValueError, match=r"data has 0\.3.* at row 0, column 0"):
            check_data(model, torch.tensor([[0.3, 1.0]]))


def test_what_is_no_number_is_refused_by_all() -> None:
    for model in (binary, gaussian, BeliefNetwork((2, 1))):
        for bad in (torch.nan, torch.inf):
            with pytest.raises(ValueError, match=r"data has (nan|inf) at row 1, column 0 \(counted from 0\)"):
                check_data(model, torch.tensor([[1.0, 1.0], [bad, 1.0]]))
        with pytest.raises(ValueError, match="expected two dimensions"):
            check_data(model, torch.ones(3))


def test_networks_know_their_width() -> None:
    with pytest.raises(ValueError, match="data has width 3, expected 2 columns"):
        check_data(BeliefNetwork((2, 1)), torch.ones(1, 3))


def test_data_take_the_type_that_the_program_computes_in() -> None:
    whole = torch.tensor([[0, 1]], dtype=torch.uint8)
    assert as_observed(binary, whole).dtype == torch.float32
    assert as_observed(gaussian, whole.double()).dtype == torch.float64
    assert as_observed(BeliefNetwork((2, 1)).double(), whole).dtype == torch.float64
