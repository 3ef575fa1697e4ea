"""What all schemes have in common: they are used as Pyro's objectives are."""

from __future__ import annotations

import copy

import pyro
import pytest
import torch
from pyro.infer import ELBO, SVI
from torch import Tensor

import pyro_helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.pair import Programs
from pyro_helm.schemes import (
    NVIL,
    SCHEMES,
    TVO,
    VIMCO,
    DisARM,
    ExactEM,
    ExactLayers,
    ExactMeanField,
    Gibbs,
    JointStochasticApproximation,
    MeanField,
    MemoisedWakeSleep,
    Reinforce,
    Relaxed,
    ReweightedWakeSleep,
    Scheme,
    VariationalEM,
    WakeSleep,
)
from pyro_helm.schemes.base import Estimate, with_gradient_of
from tests.checker import DATA, tiny_machine

ALL = [
    Reinforce(1),
    Reinforce(3),
    NVIL(1),
    NVIL(2),
    DisARM(1),
    DisARM(2, multi_sample=True),
    TVO(3),
    Gibbs(2),
    ExactEM(),
    Relaxed(2),
    Relaxed(3, straight_through=False),
    ReweightedWakeSleep(4, defensive=0.1),
    WakeSleep(1),
    WakeSleep(3),
    ReweightedWakeSleep(3, insomnia=0.5),
    ExactLayers(2),
    JointStochasticApproximation(2),
    MemoisedWakeSleep(2),
    VIMCO(3),
    VariationalEM(),
    MeanField(),
    ExactMeanField(),
]
IDS = [f"{scheme.name}-{scheme.num_particles}" for scheme in ALL]
OBSERVATIONS = {"x": DATA}


@pytest.mark.parametrize("scheme", ALL, ids=IDS)
def test_the_three_forms_of_the_loss_agree_under_one_seed(scheme: Scheme) -> None:
    machine = tiny_machine("odds")
    parameters = [*machine.model.parameters(), *machine.guide.parameters()]
    # each from a copy of its own, since baselines and chains change with every step
    first, second, third = (copy.deepcopy(scheme) for _ in range(3))
    pyro.set_rng_seed(0)
    loss = first.loss(machine.model, machine.guide, observations=OBSERVATIONS)
    pyro.set_rng_seed(0)
    differentiable = second.differentiable_loss(machine.model, machine.guide, observations=OBSERVATIONS)
    gradients = torch.autograd.grad(differentiable, parameters)
    pyro.set_rng_seed(0)
    with_grads = third.loss_and_grads(machine.model, machine.guide, observations=OBSERVATIONS)
    assert loss == pytest.approx(float(differentiable.detach()), rel=1e-12)
    assert loss == pytest.approx(with_grads, rel=1e-12)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)


@pytest.mark.parametrize("scheme", ALL, ids=IDS)
def test_loss_is_per_restart_and_sums_over_the_data(scheme: Scheme) -> None:
    model = BeliefNetwork((3, 2, 2), restarts=4, seed=0)
    guide = FactorialRecognition((3, 2, 2), restarts=4, seed=0)
    losses = scheme.restart_losses(model, guide, observations={"x": DATA.float()})
    assert losses.shape == (4,)


@pytest.mark.parametrize("scheme", ALL, ids=IDS)
def test_svi_and_a_torch_optimiser_make_the_same_step(scheme: Scheme) -> None:
    machine = tiny_machine("noisy_or")
    twin = copy.deepcopy(machine)
    svi = SVI(machine.model, machine.guide, pyro.optim.Adam({"lr": 0.1}), loss=scheme)
    pyro.set_rng_seed(0)
    svi.step(observations=OBSERVATIONS)
    parameters = [*twin.model.parameters(), *twin.guide.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.1)
    pyro.set_rng_seed(0)
    scheme.differentiable_loss(twin.model, twin.guide, observations=OBSERVATIONS).backward()
    optimiser.step()
    moved = [*machine.model.parameters(), *machine.guide.parameters()]
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(moved, parameters, strict=True))


@pytest.mark.parametrize("scheme", ALL, ids=IDS)
def test_a_scheme_called_on_a_pair_is_a_loss_module(scheme: Scheme) -> None:
    machine = tiny_machine("sigmoid")
    assert isinstance(scheme, ELBO)
    module = scheme(machine.model, machine.guide)
    module(observations=OBSERVATIONS).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_every_scheme_is_in_the_list() -> None:
    assert {scheme.name for scheme in ALL} == set(SCHEMES)


def test_nothing_reaches_the_global_param_store() -> None:
    pyro.clear_param_store()
    machine = tiny_machine("sigmoid")
    for scheme in ALL:
        scheme.loss_and_grads(machine.model, machine.guide, observations=OBSERVATIONS)
    assert not dict(pyro.get_param_store())


@pytest.mark.parametrize("scheme", ALL, ids=IDS)
def test_only_a_scheme_that_samples_has_another_value_at_every_call(scheme: Scheme) -> None:
    machine = tiny_machine("odds")
    values = {scheme.loss(machine.model, machine.guide, observations=OBSERVATIONS) for _ in range(5)}
    assert (len(values) > 1) == scheme.samples


def test_schemes_are_registered_under_their_own_names_and_exported() -> None:
    assert all(scheme.name == name for name, scheme in SCHEMES.items())
    assert {scheme.__name__ for scheme in SCHEMES.values()} <= set(pyro_helm.__all__)


def test_with_gradient_of_takes_value_and_gradient_from_two_tensors() -> None:
    a = torch.tensor(2.0, requires_grad=True)
    mixed = with_gradient_of(a**3, 5 * a)
    mixed.backward()
    assert (float(mixed.detach()), float(a.grad)) == (8.0, 5.0)  # type: ignore[arg-type]


def test_every_scheme_says_what_its_bound_is() -> None:
    assert all(vars(scheme)["estimate"].__doc__ for scheme in SCHEMES.values())


class Guess(Scheme):
    """A bound of -2 nats and 3 nats in two restarts, whatever the data."""

    name = "guess"

    def __init__(self, surrogate: Tensor | None) -> None:
        super().__init__()
        self.bound = torch.tensor([-2.0, 3.0], requires_grad=True)
        self.surrogate = surrogate

    def estimate(self, programs: Programs) -> Estimate:
        assert programs.kwargs == {"observations": OBSERVATIONS}
        return Estimate(self.bound, self.surrogate)


def test_losses_are_minus_the_bounds_and_fall_along_the_surrogate() -> None:
    machine, followed = tiny_machine("odds"), torch.tensor([torch.nan, 1.0], requires_grad=True)
    scheme = Guess(5 * followed)
    losses = scheme.restart_losses(machine.model, machine.guide, observations=OBSERVATIONS)
    assert losses.tolist() == [2.0, -3.0]
    assert scheme.loss_and_grads(machine.model, machine.guide, observations=OBSERVATIONS) == -1.0
    assert followed.grad is not None
    assert followed.grad.tolist() == [-5.0, -5.0]
    assert scheme.bound.grad is None


def test_without_a_surrogate_the_bound_is_followed() -> None:
    machine, scheme = tiny_machine("odds"), Guess(None)
    scheme.loss_and_grads(machine.model, machine.guide, observations=OBSERVATIONS)
    assert scheme.bound.grad is not None
    assert scheme.bound.grad.tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("scheme", [scheme for scheme in ALL if scheme.needs_guide], ids=lambda s: s.name)
def test_a_scheme_that_needs_a_guide_says_so(scheme: Scheme) -> None:
    with pytest.raises(TypeError, match="needs a guide, got None; without one, use ExactEM or Gibbs"):
        scheme.loss(tiny_machine("odds").model, None, observations=OBSERVATIONS)


@pytest.mark.parametrize("num_particles", [0, -1, 1.5])
def test_too_few_particles_are_refused(num_particles: int) -> None:
    with pytest.raises(ValueError, match="Reinforce needs num_particles to be an integer of at least 1"):
        Reinforce(num_particles)


def test_reweighting_needs_two_particles_and_a_share() -> None:
    with pytest.raises(ValueError, match="at least 2, got 1"):
        ReweightedWakeSleep(1)
    with pytest.raises(ValueError, match="VIMCO needs num_particles to be an integer of at least 2, got 1"):
        VIMCO(1)
    with pytest.raises(ValueError, match=r"insomnia must be between 0 .* got 1\.5"):
        ReweightedWakeSleep(2, insomnia=1.5)
