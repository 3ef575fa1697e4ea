"""Schemes that remember: they find what they have learned, and it can be copied, pickled, saved and resumed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_helm.schemes import NVIL, SCHEMES, Gibbs, JointStochasticApproximation, MemoisedWakeSleep, Reinforce, Scheme
from tests.checker import DATA, tiny_machine

KWARGS = {"observations": {"x": DATA}}
MAKERS = [
    pytest.param(lambda: NVIL(2, hidden_units=5), id="nvil"),
    pytest.param(lambda: Gibbs(2), id="gibbs"),
    pytest.param(lambda: MemoisedWakeSleep(2), id="memoised_wake_sleep"),
    pytest.param(lambda: JointStochasticApproximation(1), id="joint_stochastic_approximation"),
]
remembering = pytest.mark.parametrize("make", MAKERS)


class Machine(nn.Module):
    """A module whose methods are the two programs, and what else they may be written as."""

    def __init__(self) -> None:
        super().__init__()
        machine = tiny_machine("sigmoid")
        self.p, self.q = machine.model, machine.guide

    def model(self, observations: Any) -> None:
        self.p(observations)

    def guide(self, observations: Any) -> None:
        self.q(observations)


def step(scheme: Scheme, model: Any, guide: Any, seed: int) -> list[Tensor]:
    """Loss and gradients of one step at this seed."""
    pyro.set_rng_seed(seed)
    losses = scheme.differentiable_loss(model, guide, **KWARGS)
    parameters = [p for owner in (model, guide) for p in getattr(owner, "__self__", owner).parameters()]
    found = torch.autograd.grad(losses, parameters, allow_unused=True)
    return [losses.detach(), *(gradient for gradient in found if gradient is not None)]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def taught(scheme: Scheme, model: Any, guide: Any) -> Scheme:
    for seed in range(3):
        step(scheme, model, guide, seed)
    return scheme


@remembering
def test_methods_of_a_module_are_known_again(make: Callable[[], Scheme]) -> None:
    """As the functions are that are passed every time."""
    machine = Machine()
    model, guide = machine.model, machine.guide
    methods, functions = make(), make()
    for seed in range(4):
        found = step(methods, machine.model, machine.guide, seed)
        expected = step(functions, model, guide, seed)
    assert same(found, expected)
    assert not same(found, step(make(), machine.model, machine.guide, 3))


@remembering
@pytest.mark.parametrize(
    "anew",
    [
        pytest.param(lambda machine: lambda observations: machine.model(observations), id="lambda"),
        pytest.param(lambda machine: partial(machine.model), id="partial"),
        pytest.param(lambda machine: poutine.mask(machine.p, mask=True), id="handler"),
    ],
)
def test_programs_that_are_made_anew_at_every_step_are_refused(make: Callable[[], Scheme], anew: Any) -> None:
    machine, scheme = Machine(), make()
    scheme.differentiable_loss(anew(machine), machine.guide, **KWARGS)
    with pytest.raises(
        ValueError, match=r"with the model, but this model is made anew at every step .* handlers as contex"
    ):
        scheme.differentiable_loss(anew(machine), machine.guide, **KWARGS)


@remembering
def test_what_is_only_scored_may_be_made_anew(make: Callable[[], Scheme]) -> None:
    machine, scheme = Machine(), make()
    for _ in range(3):
        scheme.loss(lambda observations: machine.model(observations), machine.guide, **KWARGS)


@remembering
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda scheme: pickle.loads(pickle.dumps(scheme))])
def test_a_copy_goes_on_alike_and_by_itself(make: Callable[[], Scheme], how: Callable[[Any], Any]) -> None:
    machine = Machine()
    scheme = taught(make(), machine.p, machine.q)
    twin = how(scheme)
    for seed in (3, 4):
        expected = step(scheme, machine.p, machine.q, seed)
        assert same(step(twin, machine.p, machine.q, seed), expected)
    twin = how(scheme)
    taught(scheme, machine.p, machine.q)
    before, after = twin.state_dict(), scheme.state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@remembering
def test_programs_and_scheme_are_copied_and_pickled_together(make: Callable[[], Scheme]) -> None:
    machine = tiny_machine("odds")
    scheme = taught(make(), machine.model, machine.guide)
    pickled = pickle.loads(pickle.dumps((machine.model, machine.guide, scheme)))
    for model, guide, twin in (pickled, copy.deepcopy((machine.model, machine.guide, scheme))):
        assert same(step(twin, model, guide, 3), step(copy.deepcopy(scheme), machine.model, machine.guide, 3))


@remembering
def test_a_state_is_plain_tensors_and_takes_up_where_it_was(make: Callable[[], Scheme]) -> None:
    """An interrupted training, with new programs in another process, is the uninterrupted one."""
    machine = tiny_machine("noisy_or")
    scheme = taught(make(), machine.model, machine.guide)
    state = scheme.state_dict()
    assert state
    assert all(type(value) is Tensor and not value.requires_grad for value in state.values())
    resumed, other = make(), copy.deepcopy(machine)
    resumed.load_state_dict(dict(sorted(state.items())))
    for seed in (3, 4):
        expected = step(scheme, machine.model, machine.guide, seed)
        assert same(step(resumed, other.model, other.guide, seed), expected)
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, scheme.state_dict()[name]), name


@remembering
def test_a_state_is_of_one_pair(make: Callable[[], Scheme]) -> None:
    scheme = make()
    machines = [tiny_machine("sigmoid"), tiny_machine("odds")]
    for machine in machines:
        step(scheme, machine.model, machine.guide, 0)
    for what in (scheme.state_dict, lambda: pickle.dumps(scheme)):
        with pytest.raises(ValueError, match="remembers 2 pairs of model and guide, but only that of one can be saved"):
            what()


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_has_a_state_and_refuses_that_of_another(name: str) -> None:
    scheme = SCHEMES[name]()
    scheme.load_state_dict(scheme.state_dict())
    with pytest.raises(ValueError, match="holds weight"):
        scheme.load_state_dict({"weight": torch.ones(1)})


def test_a_scheme_that_remembers_nothing_takes_programs_made_anew() -> None:
    machine = Machine()
    for _ in range(3):
        Reinforce(2).differentiable_loss(lambda observations: machine.model(observations), machine.guide, **KWARGS)
