"""The sampled bound with exact layer expectations: fewer draws, the same bound."""

from __future__ import annotations

import pyro
import pytest
import torch
from torch import Tensor

from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import DisARM, ExactLayers, ExactMeanField, Scheme
from tests.checker import DATA, Z_THRESHOLD, estimates, exact_gradient, named_gradients, tiny_machine, worst_z, z_scores
from tests.oracle import IMAGING, Machine


def losses_and_gradients(scheme: Scheme, machine: Machine) -> list[Tensor]:
    machine.model.zero_grad()
    machine.guide.zero_grad()
    pyro.set_rng_seed(0)
    loss = scheme.differentiable_loss(machine.model, machine.guide, observations={"x": DATA})
    loss.backward()
    return [loss.detach(), *(g.clone() for g in named_gradients(machine.model, machine.guide).values())]


def of_layers(*sizes: int, imaging: str = "sigmoid") -> Machine:
    machine = Machine(BeliefNetwork(sizes, imaging, seed=0).double(), FactorialRecognition(sizes, seed=0).double())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in [*machine.model.parameters(), *machine.guide.parameters()]:
            parameter += 0.7 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return machine


@pytest.mark.parametrize("sizes", [(3, 1, 2, 2), (3, 2, 1, 1, 2)])
def test_every_layer_of_a_deeper_machine_is_followed(sizes: tuple[int, ...]) -> None:
    machine = of_layers(*sizes)
    losses, gradients = estimates(ExactLayers(2), machine, DATA)
    assert abs(float(z_scores(-losses, machine.elbo(DATA).sum().detach()))) < Z_THRESHOLD
    for name, z in worst_z(gradients, exact_gradient(machine, -machine.elbo(DATA).sum())).items():
        assert z < Z_THRESHOLD, name


@pytest.mark.parametrize("imaging", IMAGING)
def test_the_quadrature_is_the_sum_over_states(imaging: str) -> None:
    machine = of_layers(3, 2, 2, imaging=imaging)
    summed, integrated = (losses_and_gradients(ExactLayers(3, max_enumerated=m), machine) for m in (8, 0))
    for ours, theirs in zip(integrated, summed, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)


def test_a_single_hidden_layer_is_not_drawn() -> None:
    machine = of_layers(3, 4)
    for ours, theirs in zip(
        losses_and_gradients(ExactLayers(5), machine), losses_and_gradients(ExactMeanField(), machine), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("imaging", IMAGING)
def test_the_variance_is_below_that_of_disarm(imaging: str) -> None:
    """In every layer; what the visible layer teaches the model has none."""
    machine = tiny_machine(imaging)
    ours, theirs = (
        {name: float(g.var(0).sum()) for name, g in estimates(scheme, machine, DATA)[1].items()}
        for scheme in (ExactLayers(1), DisARM(1))
    )
    assert all(ours[name] < theirs[name] for name in ours)
    assert ours["model.generative.0.weight_unconstrained"] < 1e-20


@pytest.mark.parametrize("tolerance", [0, 1, -1e-3])
def test_settings_out_of_range_are_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance must be a number of nats between 0 and 1"):
        ExactLayers(tolerance=tolerance)
    with pytest.raises(ValueError, match="max_enumerated must be a number of units"):
        ExactLayers(max_enumerated=21)


def test_programs_other_than_layers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"ExactLayers passes means instead of samples .* got a Linear and a"):
        ExactLayers().loss(torch.nn.Linear(4, 2), FactorialRecognition((4, 2)), observations={"x": DATA})
