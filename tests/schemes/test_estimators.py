"""Every scheme follows what it claims to: value and mean gradient against enumeration, for theta and phi.

A new scheme is one line in CLAIMS, and one in MUTANTS.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from gradients import DATA, Z_THRESHOLD, estimates, exact_gradient, tiny_machine, worst_z, z_scores
from oracle import IMAGING, Machine
from pyro import poutine
from torch import Tensor

from pyro_helm.particles import Program, draw_from_guide
from pyro_helm.schemes import SCHEMES, VIMCO, Reinforce, ReweightedWakeSleep, Scheme, WakeSleep
from pyro_helm.schemes.scheme import with_gradient_of


@dataclass
class Claim:
    scheme: Scheme
    bound: Callable[[Machine, Tensor], Tensor]
    """Expected value of minus the loss."""
    objective: Callable[[Machine, Tensor], Tensor]
    """A function whose gradient is minus the expected gradient of the loss."""


def elbo(machine: Machine, x: Tensor) -> Tensor:
    return machine.elbo(x).sum()


def importance_bound(machine: Machine, x: Tensor) -> Tensor:
    return machine.importance_bound(x).sum()


def importance_bound_of_both(machine: Machine, x: Tensor) -> Tensor:
    return machine.importance_bound_of_both(x).sum()


def wake_and_sleep(machine: Machine, x: Tensor) -> Tensor:
    return machine.wake_theta(x).sum() + len(x) * machine.sleep_phi()


def reweighted(insomnia: float) -> Callable[[Machine, Tensor], Tensor]:
    def objective(machine: Machine, x: Tensor) -> Tensor:
        wake_phi, sleep_phi = machine.wake_phi(x).sum(), len(x) * machine.sleep_phi()
        return machine.importance_bound(x).sum() + insomnia * wake_phi + (1 - insomnia) * sleep_phi

    return objective


CLAIMS = {
    "reinforce, 1 particle": Claim(Reinforce(1), elbo, elbo),
    "reinforce, 2 particles": Claim(Reinforce(2), elbo, elbo),
    "reinforce, 5 particles": Claim(Reinforce(5), elbo, elbo),
    "wake_sleep, 1 particle": Claim(WakeSleep(1), elbo, wake_and_sleep),
    "wake_sleep, 3 particles": Claim(WakeSleep(3), elbo, wake_and_sleep),
    "reweighted_wake_sleep, wake-phi": Claim(ReweightedWakeSleep(2), importance_bound, reweighted(1.0)),
    "reweighted_wake_sleep, sleep-phi": Claim(ReweightedWakeSleep(2, insomnia=0.0), importance_bound, reweighted(0.0)),
    "reweighted_wake_sleep, both": Claim(ReweightedWakeSleep(2, insomnia=0.4), importance_bound, reweighted(0.4)),
    "vimco, 2 particles": Claim(VIMCO(2), importance_bound, importance_bound_of_both),
}


class ReinforceWithoutScore(Reinforce):
    """Follows log p alone, as if the guide's draws did not depend on phi."""

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        particles = draw_from_guide(model, guide, self.num_particles, args, kwargs)
        return -particles.sum_over_data(particles.log_weight.mean(0))


class WakeSleepWithoutDreams(WakeSleep):
    """Trains the guide on its own draws instead of the model's dreams."""

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        wake = draw_from_guide(model, guide, self.num_particles, args, kwargs)
        elbo = wake.sum_over_data(wake.log_weight.mean(0))
        return -with_gradient_of(elbo, wake.sum_over_data((wake.log_joint + wake.log_guide).mean(0)))


class ReweightedWakeSleepOfBatch(ReweightedWakeSleep):
    """One weight per particle for the whole batch, as Pyro's class of this name has it."""

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        wake = draw_from_guide(model, guide, self.num_particles, args, kwargs)
        weight = wake.log_weight.detach().sum(-1, keepdim=True).softmax(0)
        surrogate = wake.sum_over_data((weight * (wake.log_joint + wake.log_guide)).sum(0))
        bound = wake.sum_over_data(wake.log_weight.detach().logsumexp(0) - math.log(self.num_particles))
        return -with_gradient_of(bound, surrogate)


class VIMCOWithoutSignals(VIMCO):
    """Follows the normalised weights alone, as Pyro's importance-weighted bound does at discrete sites."""

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        particles = draw_from_guide(model, guide, self.num_particles, args, kwargs)
        return -particles.sum_over_data(particles.log_weight.logsumexp(0) - math.log(self.num_particles))


MUTANTS = {
    "vimco, 2 particles": VIMCOWithoutSignals(2),
    "reinforce, 2 particles": ReinforceWithoutScore(2),
    "wake_sleep, 3 particles": WakeSleepWithoutDreams(3),
    "reweighted_wake_sleep, wake-phi": ReweightedWakeSleepOfBatch(2),
}


def test_every_scheme_has_a_claim_and_a_mutant() -> None:
    for cases in (CLAIMS, MUTANTS):
        sampled = {name for name, scheme in SCHEMES.items() if scheme.samples}
        assert {name.split(",")[0] for name in cases} == sampled


@pytest.mark.parametrize("imaging", IMAGING)
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_value_and_gradient_are_what_the_scheme_claims(claim: Claim, imaging: str) -> None:
    machine = tiny_machine(imaging)
    losses, gradients = estimates(claim.scheme, machine, DATA)
    assert abs(float(z_scores(-losses, claim.bound(machine, DATA).sum().detach()))) < Z_THRESHOLD
    exact = exact_gradient(machine, -claim.objective(machine, DATA))
    for name, z in worst_z(gradients, exact).items():
        assert z < Z_THRESHOLD, f"{name} is {z:.1f} standard errors off"


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fails_the_same_test(name: str) -> None:
    machine = tiny_machine("sigmoid")
    _, gradients = estimates(MUTANTS[name], machine, DATA)
    exact = exact_gradient(machine, -CLAIMS[name].objective(machine, DATA))
    assert max(worst_z(gradients, exact).values()) > 2 * Z_THRESHOLD


@pytest.mark.parametrize("scheme", [claim.scheme for claim in CLAIMS.values()], ids=CLAIMS.keys())
def test_bound_is_below_the_log_evidence(scheme: Scheme) -> None:
    machine = tiny_machine("odds")
    losses, _ = estimates(scheme, machine, DATA)
    assert float(-losses.mean()) < float(machine.log_evidence(DATA).sum().detach())


def test_leave_one_out_lowers_the_variance() -> None:
    machine = tiny_machine("sigmoid")
    variance = {
        number: sum(
            float(g.var(0).sum())
            for name, g in estimates(Reinforce(number), machine, DATA)[1].items()
            if "guide" in name
        )
        for number in (1, 2)
    }
    assert variance[2] < variance[1] / 2


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_a_weight_counts_like_repetitions_of_its_datum(claim: Claim) -> None:
    """Dreams belong to no datum: each counts for the average weight."""
    machine, number = tiny_machine("noisy_or"), torch.tensor([1, 3, 2])
    with poutine.scale(scale=number.double()):
        losses, gradients = estimates(claim.scheme, machine, DATA)
    repeated = DATA.repeat_interleave(number, 0)
    assert abs(float(z_scores(-losses, claim.bound(machine, repeated).detach()))) < Z_THRESHOLD
    exact = exact_gradient(machine, -claim.objective(machine, repeated))
    for name, z in worst_z(gradients, exact).items():
        assert z < Z_THRESHOLD, f"{name} is {z:.1f} standard errors off"


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_minibatches_are_unbiased_for_the_whole_data(claim: Claim) -> None:
    """Averaged over all minibatches of two and scaled by N/B, value and gradient are those of the whole data."""
    machine = tiny_machine("noisy_or")
    scale = len(DATA) / 2
    batches = [
        estimates(claim.scheme, machine, DATA[list(rows)], seed=seed)
        for seed, rows in enumerate(itertools.combinations(range(len(DATA)), 2))
    ]
    losses = scale * torch.stack([loss for loss, _ in batches]).mean(0)
    assert abs(float(z_scores(-losses, claim.bound(machine, DATA).sum().detach()))) < Z_THRESHOLD
    exact = exact_gradient(machine, -claim.objective(machine, DATA))
    average = {name: scale * torch.stack([batch[name] for _, batch in batches]).mean(0) for name in exact}
    for name, z in worst_z(average, exact).items():
        assert z < Z_THRESHOLD, f"{name} is {z:.1f} standard errors off"
