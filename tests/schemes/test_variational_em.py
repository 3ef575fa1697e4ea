"""Variational EM: the E-step never raises F, ends at an optimum of the bound, and has its gradient."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import ExactEM, VariationalEM
from tests.checker import DATA, named_gradients, replicates, tiny_machine
from tests.oracle import IMAGING, Machine
from tests.schemes import test_missing_values as missing

OVERSHOOTS: dict[str, dict[str, Any]] = {
    "sigmoid": {"seed": 1, "spread": 8.0},
    "noisy_or": {"spread": 2.5},
    "odds": {"spread": 2.5},
}
"""Machines far from their initial values; that of the sigmoids is one whose units, all moved at once, overshoot."""
LONG = VariationalEM(num_iterations=300, least_gain=0.0)


def factorial(machine: Machine, logits: Tensor) -> Tensor:
    """log q(h) of independent units, ``[data, states]``, for logits ``[data, units]``."""
    states = torch.cat(machine.states, -1)
    return -torch.nn.functional.softplus(torch.where(states == 1, -logits[:, None], logits[:, None])).sum(-1)


def bounds(machine: Machine, x: Tensor, logits: Tensor) -> Tensor:
    log_q = factorial(machine, logits)
    return (log_q.exp() * (machine.log_joint(x).detach() - log_q)).sum(-1)


def optimum(machine: Machine, x: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The bound of each datum and its logits, by L-BFGS over the sum over states."""
    logits = start.clone().requires_grad_()
    descent = torch.optim.LBFGS([logits], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        descent.zero_grad()
        loss = -bounds(machine, x, logits).sum()
        loss.backward()
        return loss

    descent.step(closure)
    return bounds(machine, x, logits).detach(), logits.detach()


def found(scheme: VariationalEM, machine: Machine, x: Tensor) -> Tensor:
    """The bound of each datum, each shown to a restart of its own."""
    model, _ = replicates(Machine(machine.model, FactorialRecognition(machine.model.sizes).double()), len(x))
    return -scheme.restart_losses(model, None, observations={"x": x[:, None]}).detach()


@pytest.mark.parametrize("imaging", IMAGING)
def test_it_finds_the_optimum_of_the_bound(imaging: str) -> None:
    """An independent optimiser gets there from the same start, and from ten others to nothing better."""
    machine = tiny_machine(imaging)
    ours = found(LONG, machine, DATA)
    zero = torch.zeros(len(DATA), 4, dtype=torch.float64)
    torch.testing.assert_close(ours, optimum(machine, DATA, zero)[0], rtol=0, atol=1e-6)
    generator = torch.Generator().manual_seed(0)
    starts = 3 * torch.randn(10 * len(DATA), 4, generator=generator, dtype=torch.float64)
    others = optimum(machine, DATA.repeat(10, 1), starts)[0].reshape(10, len(DATA))
    assert bool((ours >= others.amax(0) - 1e-6).all())
    assert bool((ours < machine.log_evidence(DATA).detach()).all())


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("imaging", IMAGING)
def test_f_never_rises_in_an_e_step(imaging: str, exact: bool) -> None:
    machine = tiny_machine(imaging, **OVERSHOOTS[imaging])
    schemes = [VariationalEM(exact=exact, num_iterations=n, least_gain=0.0) for n in (1, 2, 3, 4, 6, 9, 13, 20)]
    bound = torch.stack([found(scheme, machine, DATA) for scheme in schemes])
    assert all(bool((later >= earlier).all()) for earlier, later in itertools.pairwise(bound))
    assert bool((bound[-1] > bound[0] + 1e-3).any())


def test_without_halved_steps_f_rises() -> None:
    """Units that explain the same pixels overshoot where all are moved at once: the test above can fail."""
    machine = tiny_machine("sigmoid", **OVERSHOOTS["sigmoid"])
    logits = torch.zeros(len(DATA), 4, dtype=torch.float64)
    seen = []
    for _ in range(25):
        mu = torch.sigmoid(logits).requires_grad_()
        chance = torch.where(torch.cat(machine.states, -1) == 1, mu[:, None], 1 - mu[:, None]).prod(-1)
        expected = (chance * machine.log_joint(DATA).detach()).sum()
        seen.append(bounds(machine, DATA, logits))
        (logits,) = torch.autograd.grad(expected, mu)
    assert any(bool((later < earlier - 1e-3).any()) for earlier, later in itertools.pairwise(seen))


@pytest.mark.parametrize("imaging", IMAGING)
def test_the_gradient_is_that_of_the_bound_and_of_the_guide_at_what_was_found(imaging: str) -> None:
    machine = tiny_machine(imaging)
    loss = LONG.differentiable_loss(machine.model, machine.guide, observations={"x": DATA})
    loss.backward()
    gradients = named_gradients(machine.model, machine.guide)
    _, logits = optimum(machine, DATA, torch.zeros(len(DATA), 4, dtype=torch.float64))
    q = factorial(machine, logits).exp()
    machine.model.zero_grad()
    machine.guide.zero_grad()
    (-(q * (machine.log_joint(DATA) + machine.log_guide(DATA))).sum()).backward()
    for name, exact in named_gradients(machine.model, machine.guide).items():
        torch.testing.assert_close(gradients[name], exact, rtol=1e-4, atol=1e-4, msg=name)


def test_one_hidden_unit_is_exact_em() -> None:
    """Its factorial posterior is the posterior."""
    model = BeliefNetwork((3, 1), "odds", seed=0).double()
    exact = ExactEM().loss(model, None, observations={"x": DATA})
    assert LONG.loss(model, None, observations={"x": DATA}) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("imaging", IMAGING)
def test_the_quadrature_finds_the_same(imaging: str) -> None:
    machine = tiny_machine(imaging)
    summed, integrated = (found(VariationalEM(max_enumerated=most), machine, DATA) for most in (8, 0))
    torch.testing.assert_close(integrated, summed, rtol=0, atol=1e-7)


@pytest.mark.parametrize("imaging", IMAGING)
def test_missing_values_are_left_out(imaging: str) -> None:
    machine = missing.machine(imaging)
    zero = torch.zeros(len(missing.DATA), 4, dtype=torch.float64)
    expected = optimum(machine, missing.DATA, zero)[0]
    torch.testing.assert_close(found(LONG, machine, missing.DATA), expected, rtol=0, atol=1e-6)
    loss = VariationalEM().differentiable_loss(machine.model, machine.guide, observations={"x": missing.DATA})
    loss.backward()
    assert all(bool(g.isfinite().all()) for g in named_gradients(machine.model, machine.guide).values())


def test_a_datum_is_fitted_as_it_would_be_alone() -> None:
    """It stops when its own gain is small, whatever the others do, in other restarts too."""
    model = BeliefNetwork((3, 4), restarts=2, seed=0).double()
    together = VariationalEM().restart_losses(model, None, observations={"x": DATA}).detach()
    for restart in range(2):
        alone = BeliefNetwork((3, 4)).double()
        alone.load_state_dict({name: value[restart : restart + 1] for name, value in model.state_dict().items()})
        each = [VariationalEM().loss(alone, None, observations={"x": row[None]}) for row in DATA]
        assert float(together[restart]) == pytest.approx(sum(each), rel=1e-12)


def test_multiple_cause_models_learn_without_a_guide() -> None:
    """Two causes of disjoint pixels, mixed: a nat better than any model of single pixels."""
    generator = torch.Generator().manual_seed(0)
    causes = (torch.rand(40, 2, generator=generator) < 0.5).float()
    x = causes.repeat_interleave(3, -1)
    model = BeliefNetwork((6, 2), imaging="odds", seed=0)
    descent, scheme = torch.optim.Adam(model.parameters(), lr=0.2), VariationalEM(num_iterations=5)
    losses = []
    for _ in range(60):
        descent.zero_grad()
        losses.append(scheme.loss_and_grads(model, None, observations={"x": x}))
        descent.step()
    factorised = 6 * 0.6931
    assert losses[-1] / 40 < factorised - 1 < losses[0] / 40


def test_programs_and_settings_that_it_can_not_take_are_refused() -> None:
    with pytest.raises(TypeError, match=r"VariationalEM passes means .* got a Linear and a NoneType"):
        VariationalEM().loss(torch.nn.Linear(3, 2), None, observations={"x": DATA})
    with pytest.raises(ValueError, match="num_iterations must be at least 1, got 0"):
        VariationalEM(num_iterations=0)
    with pytest.raises(ValueError, match="least_gain must be a number of nats, 0 or more, got -1"):
        VariationalEM(least_gain=-1)
    with pytest.raises(ValueError, match="sizes"):
        VariationalEM().loss(BeliefNetwork((3, 2)), FactorialRecognition((3, 4)), observations={"x": DATA.float()})
