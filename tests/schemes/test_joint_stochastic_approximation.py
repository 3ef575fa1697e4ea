"""Joint stochastic approximation: chains whose stationary distribution is the posterior, whatever the guide."""

from __future__ import annotations

import pyro
import pytest
import torch
from torch import Tensor

from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import JointStochasticApproximation
from pyro_helm.schemes.joint_stochastic_approximation import independence_moves
from tests.checker import DATA, Z_THRESHOLD, exact_gradient, named_gradients, replicates, tiny_machine, worst_z
from tests.oracle import IMAGING, Machine

RESTARTS = 3000


def stands(scheme: JointStochasticApproximation, model: BeliefNetwork) -> Tensor:
    """Index among the 16 joint states of the state of each chain of the one datum, ``[restarts]``."""
    (kept,) = scheme._memory.of(model, None).values()
    state = torch.cat([kept.states["h1"], kept.states["h2"]], -1).double()
    return (state @ torch.tensor([8.0, 4, 2, 1]).double()).long().flatten()


def transitions(machine: Machine, x: Tensor) -> Tensor:
    """Probability of each state after a move, from each, ``[from, to]``, by enumeration."""
    log_p, log_q = machine.log_joint(x)[0].detach(), machine.log_guide(x)[0].detach()
    log_w = log_p - log_q
    to_another = log_q.exp() * (log_w - log_w[:, None]).clamp(max=0).exp()
    to_another.fill_diagonal_(0)
    return to_another + torch.diag(1 - to_another.sum(-1))


@pytest.mark.parametrize("imaging", IMAGING)
def test_moves_have_the_enumerated_distribution_and_the_posterior_stays(imaging: str) -> None:
    machine, x = tiny_machine(imaging), DATA[:1]
    move, posterior = transitions(machine, x), machine.posterior(x)[0]
    torch.testing.assert_close(posterior @ move, posterior)
    model, guide = replicates(machine, RESTARTS)
    scheme, exact = JointStochasticApproximation(2), machine.log_guide(x)[0].detach().exp()
    pyro.set_rng_seed(0)
    for step in range(30):
        with torch.no_grad():
            scheme.restart_losses(model, guide, observations={"x": x})
        exact = exact @ move @ move
        if step in (0, 1, 29):
            share = torch.nn.functional.one_hot(stands(scheme, model), 16).double().mean(0)
            spread = (exact * (1 - exact) / RESTARTS).sqrt() + 1e-10
            assert float(((share - exact) / spread).abs().max()) < Z_THRESHOLD, step


def test_converged_chains_have_the_gradient_of_the_log_likelihood() -> None:
    machine = tiny_machine("sigmoid")
    model, guide = replicates(machine, RESTARTS)
    scheme = JointStochasticApproximation(5)
    pyro.set_rng_seed(0)
    with torch.no_grad():
        for _ in range(12):
            scheme.restart_losses(model, guide, observations={"x": DATA})
    scheme.restart_losses(model, guide, observations={"x": DATA}).sum().backward()
    objective = machine.log_evidence(DATA).sum() + machine.posterior_guide(DATA).sum()
    exact = exact_gradient(machine, -objective)
    for name, z in worst_z(named_gradients(model, guide), exact).items():
        assert z < Z_THRESHOLD, name


def test_an_impossible_proposal_is_never_accepted_and_an_impossible_state_is_left() -> None:
    log_weight = torch.tensor([-torch.inf, -torch.inf, -3.0, -torch.inf])[:, None, None]
    assert independence_moves(log_weight).flatten().tolist() == [0, 2, 2]
