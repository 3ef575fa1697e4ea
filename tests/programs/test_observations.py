"""Data at the door: zeros and ones for binary models, finite numbers for others."""

from __future__ import annotations

from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.observations import as_observed, check_data
from pyro_helm.programs.particles import Program


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


def test_what_is_no_number_is_refused_but_for_missing_values_that_a_model_leaves_out() -> None:
    check_data(BeliefNetwork((2, 1)), torch.tensor([[1.0, 1.0], [torch.nan, 1.0]]))
    for model in (binary, gaussian, BeliefNetwork((2, 1))):
        for bad in (torch.inf,) if isinstance(model, BeliefNetwork) else (torch.nan, torch.inf):
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


def observing(fn: dist.Distribution, plated: bool = True, column: bool = False) -> Program:
    def model(observations: dict[str, Tensor]) -> None:
        x = observations["x"][..., 0] if column else observations["x"]
        with pyro.plate("data", len(x), dim=-1) if plated else nullcontext():
            pyro.sample("h", dist.Bernoulli(0.5))
            pyro.sample("pixels", fn, obs=x)

    return model


def test_another_width_is_not_broadcast() -> None:
    four = observing(dist.Bernoulli(torch.full((4,), 0.5)).to_event(1))
    check_data(four, torch.ones(3, 4))
    for data in (torch.ones(3, 1), torch.ones(3, 2)):
        with pytest.raises(ValueError, match=r"site 'pixels' was given data of shape \[3, .\], expected \[3, 4\]"):
            check_data(four, data)
        with pytest.raises(ValueError, match=r"expected \[3, 4\]: the data, then the values of one datum"):
            helm.log_likelihood(four, four, data)
    scalar = dist.Poisson(torch.tensor(2.0))
    check_data(observing(scalar, column=True), torch.ones(3, 1))
    with pytest.raises(ValueError, match=r"site 'pixels' was given data of shape \[3, 1\], expected \[3\]"):
        check_data(observing(scalar), torch.ones(3, 1))


@pytest.mark.parametrize(
    ("fn", "good", "bad", "expected"),
    [
        (dist.Poisson(torch.full((2,), 2.0)).to_event(1), 3.0, -1.0, "a whole number from 0 at"),
        (dist.Poisson(torch.full((2,), 2.0)).to_event(1), 3.0, 0.5, "a whole number from 0 at"),
        (dist.Beta(torch.full((2,), 2.0), 1.0).to_event(1), 0.5, 2.0, "a value of"),
        (dist.Binomial(4, torch.full((2,), 0.5)).to_event(1), 4.0, 5.0, "a value of"),
        (dist.Categorical(torch.full((2, 3), 0.5)).to_event(1), 2.0, 3.0, "a value of"),
    ],
)
def test_values_that_the_distribution_can_not_have_are_refused(
    fn: dist.Distribution, good: float, bad: float, expected: str
) -> None:
    data = torch.full((1100, 2), good)  # more than are looked at at once
    check_data(observing(fn), data)
    data[1050, 1] = bad
    with pytest.raises(ValueError, match=rf"data has {bad}.* at row 1050, .*{expected} the model's site 'pixels'"):
        check_data(observing(fn), data)


def test_a_support_that_depends_on_latent_sites_is_not_asked() -> None:
    def model(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            top = pyro.sample("top", dist.Exponential(torch.tensor(1.0)))
            fn = dist.Uniform(0.0, top[..., None].expand(*top.shape, 2))
            pyro.sample("x", fn.to_event(1), obs=observations["x"])

    check_data(model, torch.full((50, 2), 1.0))
