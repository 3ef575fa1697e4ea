"""Imaging models: the probabilities of the paper's equations, leaks, constraints."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from pyro.nn import PyroSample
from torch import Tensor

from pyro_helm.layers import IMAGING as REGISTRY
from pyro_helm.models import BeliefNetwork
from tests.oracle import IMAGING, binary_rows, unit_probabilities

GENERATOR_SEED = 0


def layer(name: str, restarts: int = 1, **settings: Any) -> Any:
    generator = torch.Generator().manual_seed(GENERATOR_SEED)
    return REGISTRY[name](3, 5, restarts=restarts, generator=generator, **settings).double()


@pytest.mark.parametrize("name", IMAGING)
@pytest.mark.parametrize("max_enumerated", [0, 3])
def test_certain_causes_give_the_log_probabilities_themselves(name: str, max_enumerated: int) -> None:
    unit, states = layer(name), binary_rows(3)
    expected = torch.stack(unit.log_probs(states))
    mean_log = unit.mean_log(states, tolerance=1e-10, max_enumerated=max_enumerated)
    assert torch.allclose(torch.stack(mean_log), expected, atol=1e-9)
    if name != "odds" or max_enumerated:  # A.3 is an approximation even then
        log_mean = unit.log_mean(states, max_enumerated=max_enumerated)
        assert torch.allclose(torch.stack(log_mean), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", IMAGING)
def test_log_probabilities_are_those_of_the_papers_probabilities(name: str) -> None:
    unit, states = layer(name, restarts=2), binary_rows(3)
    on, off = unit.log_probs(states)
    for restart in range(2):
        probability = unit_probabilities(name, states, unit.weight[restart], unit.leak[restart, 0])
        assert torch.allclose(on[restart], probability.log(), atol=1e-12)
        assert torch.allclose(off[restart], (1 - probability).log(), atol=1e-12)
    assert unit.log_probs().on.shape == (2, 1, 5)


@pytest.mark.parametrize("name", IMAGING)
@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0.01, 5.0), seed=st.integers(0, 10_000))
def test_the_mean_of_the_log_is_below_the_log_of_the_mean(name: str, scale: float, seed: int) -> None:
    """Jensen's inequality; both by enumeration for odds, as A.3 is no mean."""
    unit = layer(name)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        q = torch.rand(4, 3, generator=generator, dtype=torch.float64)
        below = unit.mean_log(q, tolerance=1e-10, max_enumerated=0)
        above = unit.log_mean(q, max_enumerated=3)
    assert bool((below.on <= above.on + 1e-9).all())
    assert bool((below.off <= above.off + 1e-9).all())


def test_the_registry_names_the_papers_imaging_models_and_those_of_other_data() -> None:
    assert tuple(name for name, kind in REGISTRY.items() if kind.is_binary) == IMAGING
    assert REGISTRY.keys() - set(IMAGING) == {"gaussian", "poisson", "categorical"}


@pytest.mark.parametrize("name", IMAGING)
@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0.01, 5.0), seed=st.integers(0, 10_000))
def test_probabilities_are_the_papers(name: str, scale: float, seed: int) -> None:
    unit = layer(name)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        causes = binary_rows(3)
        expected = unit_probabilities(name, causes, unit.weight[0], unit.leak[0, 0])
        assert torch.allclose(unit(causes).mean, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", IMAGING)
@pytest.mark.parametrize("leading", [(), (1,), (2, 1)])
def test_a_single_restart_has_no_dimension_of_its_own(name: str, leading: tuple[int, ...]) -> None:
    unit = layer(name)
    assert unit(torch.ones(*leading, 4, 3).double()).batch_shape == (*leading, 4)
    assert unit().batch_shape == (1,)


@pytest.mark.parametrize("name", IMAGING)
def test_restarts_have_their_own_weights(name: str) -> None:
    unit = layer(name, restarts=3)
    causes = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).double()
    together = unit(causes).mean
    assert together.shape == (3, 2, 5)
    for restart in range(3):
        expected = unit_probabilities(name, causes, unit.weight[restart], unit.leak[restart, 0])
        assert torch.allclose(together[restart], expected)


@pytest.mark.parametrize(
    ("name", "leak", "probability"), [("sigmoid", 0.0, 0.5), ("noisy_or", 0.05, 0.05), ("odds", 0.25, 0.2)]
)
def test_a_fixed_leak_is_stated_as_the_imaging_model_has_it(name: str, leak: float, probability: float) -> None:
    unit = layer(name, fixed_leak=leak, learned_leak=False)
    assert torch.allclose(unit(torch.zeros(1, 3).double()).mean, torch.tensor(probability).double(), atol=1e-7)
    assert [parameter for parameter, _ in unit.named_parameters()] == ["weight_unconstrained"]


@pytest.mark.parametrize("name", ["noisy_or", "odds"])
def test_fixed_and_learned_leaks_add_up(name: str) -> None:
    unit = layer(name, fixed_leak=0.3)
    assert torch.allclose(unit.leak, unit.learned_leak + unit.fixed_leak)


@pytest.mark.parametrize("name", ["noisy_or", "odds"])
def test_constraints_hold_for_any_unconstrained_value(name: str) -> None:
    unit = layer(name)
    with torch.no_grad():
        unit.weight_unconstrained.copy_(torch.linspace(-80, 80, 15).reshape(1, 3, 5))
    weight: Tensor = unit.weight
    assert bool((weight > 0).all())
    assert bool(weight.isfinite().all())


def test_a_noisy_or_stores_the_logit_of_the_papers_theta() -> None:
    unit = layer("noisy_or")
    theta = torch.sigmoid(unit.weight_unconstrained)
    assert torch.allclose(1 - torch.exp(-unit.weight), theta)


def test_a_sigmoid_needs_no_leak() -> None:
    unit = layer("sigmoid", learned_leak=False)
    assert torch.equal(unit(torch.zeros(1, 3).double()).mean, torch.full((1, 5), 0.5).double())


def test_two_layers_of_one_name_do_not_share_parameters() -> None:
    pyro.clear_param_store()
    before = pyro.settings.get("module_local_params")
    causes = torch.ones(1, 3).double()
    one, other = layer("odds"), layer("odds")
    with torch.no_grad():
        other.weight_unconstrained.add_(1.0)
    assert not torch.equal(one(causes).mean, other(causes).mean)
    assert not dict(pyro.get_param_store())
    assert pyro.settings.get("module_local_params") == before


def test_a_prior_on_the_weights_is_sampled_once_for_all_data() -> None:
    model = BeliefNetwork((5, 3), seed=0)
    prior = dist.Normal(torch.zeros(1, 3, 5), 1.0).to_event(3)
    delattr(model.generative[0], "weight")
    model.generative[0].weight = PyroSample(prior)
    trace = poutine.trace(model).get_trace({"x": torch.zeros(7, 5)})
    assert trace.nodes["generative.0.weight"]["value"].shape == (1, 3, 5)
    assert trace.nodes["generative.0.weight"]["cond_indep_stack"] == ()
