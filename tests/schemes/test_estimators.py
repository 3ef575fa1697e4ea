"""Every scheme follows what it claims to: value and mean gradient against enumeration, for theta and phi.

A new scheme is one line in CLAIMS, and one in MUTANTS.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

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
    MemoisedWakeSleep,
    Reinforce,
    Relaxed,
    ReweightedWakeSleep,
    Scheme,
    WakeSleep,
)
from pyro_helm.schemes.base import Estimate
from pyro_helm.schemes.disarm import antithetic
from pyro_helm.schemes.reinforce import leave_one_out, surrogate_elbo
from tests.checker import (
    DATA,
    REPLICATES,
    Z_THRESHOLD,
    estimates,
    exact_gradient,
    named_gradients,
    replicates,
    tiny_machine,
    worst_z,
    z_scores,
)
from tests.oracle import IMAGING, Machine


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


THERMODYNAMIC = [0.0, 0.3, 0.7, 1.0]
DEFENSIVE = 0.2


def thermodynamic(upper: bool) -> tuple[Callable[[Machine, Tensor], Tensor], Callable[[Machine, Tensor], Tensor]]:
    return (
        lambda machine, x: machine.thermodynamic_value(x, THERMODYNAMIC, upper=upper).sum(),
        lambda machine, x: machine.thermodynamic_gradient(x, THERMODYNAMIC, upper=upper).sum(),
    )


def mixture(log_q: Tensor) -> Tensor:
    """The defensive mixture of the guide and the uniform distribution over the 16 states."""
    return torch.log((1 - DEFENSIVE) * log_q.exp() + DEFENSIVE / 16)


def defensive_bound(machine: Machine, x: Tensor) -> Tensor:
    return machine.over_pairs(
        x, lambda log_p, log_q: (log_p - mixture(log_q).detach()).logsumexp(-1) - math.log(2), mixture
    ).sum()


def defensive_wake(machine: Machine, x: Tensor) -> Tensor:
    wake_phi = machine.over_pairs(
        x, lambda log_p, log_q: ((log_p - mixture(log_q)).detach().softmax(-1) * log_q).sum(-1), mixture
    )
    return defensive_bound(machine, x) + wake_phi.sum()


def complete_data(machine: Machine, x: Tensor) -> Tensor:
    return machine.posterior_joint(x).sum()


def posterior_wake(machine: Machine, x: Tensor) -> Tensor:
    return machine.posterior_joint(x).sum() + machine.posterior_guide(x).sum()


def remembered(machine: Machine, x: Tensor) -> Tensor:
    """E over two draws, held fixed, of the log of the sum of p(x, h) over those that differ, [data]."""
    return machine.over_pairs(x, lambda log_p, _: of_those_that_differ(log_p).logsumexp(-1)).sum()


def remembered_and_replayed(replay: float) -> Callable[[Machine, Tensor], Tensor]:
    def objective(machine: Machine, x: Tensor) -> Tensor:
        replayed = machine.over_pairs(
            x, lambda log_p, log_q: (of_those_that_differ(log_p).detach().softmax(-1) * log_q).sum(-1)
        )
        return remembered(machine, x) + replay * replayed.sum() + (1 - replay) * len(x) * machine.sleep_phi()

    return objective


def of_those_that_differ(log_p: Tensor) -> Tensor:
    """Of pairs [data, pairs, 2], the second of the same state twice counts for nothing."""
    same = torch.eye(math.isqrt(log_p.shape[1]), dtype=torch.bool).flatten()
    return torch.stack([log_p[..., 0], log_p[..., 1].masked_fill(same, -1e30)], -1)


def after_one_move(machine: Machine, x: Tensor) -> Tensor:
    """E[log p(x, h) + log q(h | x)] of a chain that began with a draw of the guide and was proposed another."""

    def of_pair(log_p: Tensor, log_q: Tensor) -> Tensor:
        begins, proposed = (log_p - log_q).detach().unbind(-1)
        accepted = (proposed - begins).clamp(max=0).exp()
        return (torch.stack([1 - accepted, accepted], -1) * (log_p + log_q)).sum(-1)

    return machine.over_pairs(x, of_pair).sum()


CLAIMS = {
    "reinforce, 1 particle": Claim(Reinforce(1), elbo, elbo),
    "reinforce, 2 particles": Claim(Reinforce(2), elbo, elbo),
    "reinforce, 5 particles": Claim(Reinforce(5), elbo, elbo),
    "wake_sleep, 1 particle": Claim(WakeSleep(1), elbo, wake_and_sleep),
    "wake_sleep, 3 particles": Claim(WakeSleep(3), elbo, wake_and_sleep),
    "reweighted_wake_sleep, wake-phi": Claim(ReweightedWakeSleep(2), importance_bound, reweighted(1.0)),
    "reweighted_wake_sleep, sleep-phi": Claim(ReweightedWakeSleep(2, insomnia=0.0), importance_bound, reweighted(0.0)),
    "reweighted_wake_sleep, both": Claim(ReweightedWakeSleep(2, insomnia=0.4), importance_bound, reweighted(0.4)),
    "reweighted_wake_sleep, defensive": Claim(
        ReweightedWakeSleep(2, defensive=DEFENSIVE), defensive_bound, defensive_wake
    ),
    "vimco, 2 particles": Claim(VIMCO(2), importance_bound, importance_bound_of_both),
    "nvil, 1 particle": Claim(NVIL(1, normalise=False, hidden_units=4), elbo, elbo),
    "nvil, 3 particles": Claim(NVIL(3, normalise=False, hidden_units=4), elbo, elbo),
    "disarm, 1 particle": Claim(DisARM(1), elbo, elbo),
    "disarm, 3 particles": Claim(DisARM(3), elbo, elbo),
    "disarm, multi-sample": Claim(DisARM(2, multi_sample=True), importance_bound, importance_bound_of_both),
    "exact_layers, 1 particle": Claim(ExactLayers(1), elbo, elbo),
    "exact_layers, 3 particles": Claim(ExactLayers(3), elbo, elbo),
    "tvo, lower": Claim(TVO(2, partition=THERMODYNAMIC), *thermodynamic(upper=False)),
    "tvo, upper": Claim(TVO(2, partition=THERMODYNAMIC, upper=True), *thermodynamic(upper=True)),
    "tvo, one interval": Claim(TVO(3, num_intervals=1), elbo, elbo),
    "memoised_wake_sleep, replay": Claim(MemoisedWakeSleep(2, memory_size=2), remembered, remembered_and_replayed(1.0)),
    "memoised_wake_sleep, both": Claim(
        MemoisedWakeSleep(2, memory_size=3, replay=0.4), remembered, remembered_and_replayed(0.4)
    ),
    "joint_stochastic_approximation, 1 move": Claim(JointStochasticApproximation(1), elbo, after_one_move),
    "gibbs, 1 chain": Claim(Gibbs(1, num_sweeps=30), complete_data, posterior_wake),
    "gibbs, blocks": Claim(Gibbs(2, num_sweeps=8, block_size=2), complete_data, posterior_wake),
}


class ReinforceWithoutScore(Reinforce):
    """Follows log p alone, as if the guide's draws did not depend on phi."""

    def estimate(self, programs: Programs) -> Estimate:
        particles = programs.draw_from_guide(self.num_particles)
        return Estimate(particles.sum_over_data(particles.log_weight.mean(0)))


class WakeSleepWithoutDreams(WakeSleep):
    """Trains the guide on its own draws instead of the model's dreams."""

    def estimate(self, programs: Programs) -> Estimate:
        wake = programs.draw_from_guide(self.num_particles)
        elbo = wake.sum_over_data(wake.log_weight.mean(0))
        return Estimate(elbo, wake.sum_over_data((wake.log_joint + wake.log_guide).mean(0)))


class ReweightedWakeSleepOfBatch(ReweightedWakeSleep):
    """One weight per particle for the whole batch, as Pyro's class of this name has it."""

    def estimate(self, programs: Programs) -> Estimate:
        wake = programs.draw_from_guide(self.num_particles)
        weight = wake.log_weight.detach().sum(-1, keepdim=True).softmax(0)
        surrogate = wake.sum_over_data((weight * (wake.log_joint + wake.log_guide)).sum(0))
        bound = wake.sum_over_data(wake.log_weight.detach().logsumexp(0) - math.log(self.num_particles))
        return Estimate(bound, surrogate)


class VIMCOWithoutSignals(VIMCO):
    """Follows the normalised weights alone, as Pyro's importance-weighted bound does at discrete sites."""

    def estimate(self, programs: Programs) -> Estimate:
        particles = programs.draw_from_guide(self.num_particles)
        return Estimate(particles.sum_over_data(particles.log_weight.logsumexp(0) - math.log(self.num_particles)))


class SignalsOfBelow(NVIL):
    """Judges a site by what it can't influence."""

    def estimate(self, programs: Programs) -> Estimate:
        particles = programs.draw_from_guide(self.num_particles)
        below = particles.log_p["x"].detach()
        surrogate = particles.log_joint + below * particles.log_q["h2"]
        return Estimate(particles.elbo.mean(0), particles.sum_over_data(surrogate.mean(0)))


class DisARMOfOneDraw(DisARM):
    """Multiplies the difference of the pair by the score, as a plain average of two score functions would not."""

    def estimate(self, programs: Programs) -> Estimate:
        particles = programs.draw_from_guide(self.num_particles)
        surrogate = particles.log_joint
        for name, site in particles.guide_sites.items():
            partner, factor = antithetic(site)
            others = programs.draw_from_guide(self.num_particles, values={name: partner})
            # the layer below the partner is drawn anew, so that the pair differs in more than the site
            surrogate = surrogate + (particles.log_weight - others.log_weight).detach() * factor
        return Estimate(particles.elbo.mean(0), particles.sum_over_data(surrogate.mean(0)))


class TVOWithoutCovariance(TVO):
    """Follows the mean of the gradient under pi_b, but not the change of pi_b."""

    def estimate(self, programs: Programs) -> Estimate:
        particles = programs.draw_from_guide(self.num_particles)
        log_weight, surrogate = particles.log_weight.detach(), torch.zeros(())
        for low, high in itertools.pairwise(self.points):
            surrogate = surrogate + (high - low) * (low * log_weight).softmax(0) * particles.log_weight
        return Estimate(particles.sum_over_data(surrogate.sum(0)))


class GibbsAtOnce(Gibbs):
    """Takes the guide's draws for the posterior's."""

    def estimate(self, programs: Programs) -> Estimate:
        particles = programs.draw_from_guide(self.num_particles)
        return Estimate(particles.sum_over_data((particles.log_joint + particles.log_guide).mean(0)))


MUTANTS = {
    "nvil, 1 particle": SignalsOfBelow(1),
    "disarm, 1 particle": DisARMOfOneDraw(1),
    "exact_layers, 1 particle": ExactMeanField(),  # means, not draws, all the way up
    "tvo, lower": TVOWithoutCovariance(2, partition=THERMODYNAMIC),
    "gibbs, 1 chain": GibbsAtOnce(1),
    "memoised_wake_sleep, replay": ReweightedWakeSleep(2),  # whose weights are p / q
    "joint_stochastic_approximation, 1 move": GibbsAtOnce(1),  # accepts every proposal
    "vimco, 2 particles": VIMCOWithoutSignals(2),
    "reinforce, 2 particles": ReinforceWithoutScore(2),
    "wake_sleep, 3 particles": WakeSleepWithoutDreams(3),
    "reweighted_wake_sleep, wake-phi": ReweightedWakeSleepOfBatch(2),
}


def test_every_scheme_has_a_claim_and_a_mutant() -> None:
    for cases in (CLAIMS, MUTANTS):
        sampled = {name for name, scheme in SCHEMES.items() if scheme.samples} - {"relaxed"}  # biased: see its test
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
    _, gradients = estimates(MUTANTS[name], machine, DATA, number=4 * REPLICATES)  # for twice the threshold
    exact = exact_gradient(machine, -CLAIMS[name].objective(machine, DATA))
    assert max(worst_z(gradients, exact).values()) > 2 * Z_THRESHOLD


@pytest.mark.parametrize("name", sorted(CLAIMS.keys() - {"tvo, upper"}))
def test_bound_is_below_the_log_evidence(name: str) -> None:
    machine = tiny_machine("odds")
    bound = float(CLAIMS[name].bound(machine, DATA).sum().detach())
    assert bound < float(machine.log_evidence(DATA).sum().detach())


@pytest.mark.parametrize("imaging", IMAGING)
def test_exact_em_is_the_log_evidence_and_its_gradient(imaging: str) -> None:
    machine = tiny_machine(imaging)
    loss = ExactEM().differentiable_loss(machine.model, machine.guide, observations={"x": DATA})
    loss.backward()
    found = named_gradients(machine.model, machine.guide)
    assert float(loss.detach()) == pytest.approx(-float(machine.log_evidence(DATA).sum().detach()), rel=1e-12)
    evidence = exact_gradient(machine, -machine.log_evidence(DATA).sum())
    for name, value in exact_gradient(machine, -posterior_wake(machine, DATA)).items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-12), name
        if name.startswith("model"):
            assert torch.allclose(found[name], evidence[name], rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("imaging", IMAGING)
def test_relaxed_straight_through_has_the_right_value_and_theta_but_a_biased_phi(imaging: str) -> None:
    machine = tiny_machine(imaging)
    losses, gradients = estimates(Relaxed(1), machine, DATA, number=4 * REPLICATES)  # for twice the threshold
    assert abs(float(z_scores(-losses, machine.elbo(DATA).sum().detach()))) < Z_THRESHOLD
    exact = exact_gradient(machine, -machine.elbo(DATA).sum())
    worst = worst_z(gradients, exact)
    assert max(z for name, z in worst.items() if name.startswith("model")) < Z_THRESHOLD
    assert max(z for name, z in worst.items() if name.startswith("guide")) > 2 * Z_THRESHOLD
    assert cosine(gradients, exact) > 0.4


def test_continuous_relaxation_loses_its_bias_as_it_cools_and_gains_variance() -> None:
    machine = tiny_machine("sigmoid")
    exact = exact_gradient(machine, -machine.elbo(DATA).sum())
    bias, variance = {}, {}
    for temperature in (1.0, 0.1):
        _, gradients = estimates(Relaxed(1, temperature=temperature, straight_through=False), machine, DATA)
        guides = [name for name in gradients if name.startswith("guide")]
        bias[temperature] = sum(float((gradients[n].mean(0) - exact[n][0]).square().sum()) for n in guides) ** 0.5
        variance[temperature] = sum(float(gradients[n].var(0).sum()) for n in guides)
    assert bias[0.1] < bias[1.0] / 2
    assert variance[0.1] > 2 * variance[1.0]


def cosine(gradients: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """Between the mean gradient of the guide and the exact one."""
    guides = [name for name in exact if name.startswith("guide")]
    mean, truth = (
        torch.cat([g.flatten() for g in part])
        for part in ([gradients[name].mean(0) for name in guides], [exact[name][0] for name in guides])
    )
    return float(torch.nn.functional.cosine_similarity(mean, truth, dim=0))


def guide_variance(scheme: Scheme, imaging: str = "sigmoid") -> float:
    _, gradients = estimates(scheme, tiny_machine(imaging), DATA)
    return sum(float(gradient.var(0).sum()) for name, gradient in gradients.items() if name.startswith("guide"))


class ReinforceOfAllTerms(Reinforce):
    """Without local credit: every site is judged by the whole log-weight."""

    def estimate(self, programs: Programs) -> Estimate:
        particles = programs.draw_from_guide(self.num_particles)
        signal = dict.fromkeys(particles.log_q, leave_one_out(particles.log_weight.detach()))
        surrogate = surrogate_elbo(particles, signal)
        return Estimate(particles.elbo.mean(0), surrogate.mean(0))


@pytest.mark.parametrize("num_particles", [1, 3])
def test_local_credit_lowers_the_variance_of_the_upper_layer(num_particles: int) -> None:
    upper = "guide.recognition.1.weight_unconstrained"
    variance = [
        float(estimates(scheme(num_particles), tiny_machine("sigmoid"), DATA)[1][upper].var(0).sum())
        for scheme in (Reinforce, ReinforceOfAllTerms)
    ]
    assert variance[0] < 0.95 * variance[1]


def test_disarm_has_less_variance_than_two_independent_draws() -> None:
    """As many evaluations of a single layer: a pair against two particles with the leave-one-out signal."""
    assert guide_variance(DisARM(1)) < guide_variance(Reinforce(2)) < guide_variance(Reinforce(1))


def test_signals_of_several_particles_lower_the_variance_of_multi_sample_bounds() -> None:
    class PlainScore(VIMCO):
        """The score function of the whole bound."""

        def estimate(self, programs: Programs) -> Estimate:
            particles = programs.draw_from_guide(self.num_particles)
            bound = particles.log_weight.logsumexp(0)
            return Estimate(particles.sum_over_data(bound + bound.detach() * particles.log_guide.sum(0)))

    plain = guide_variance(PlainScore(3))
    assert guide_variance(VIMCO(3)) < plain / 2
    assert guide_variance(DisARM(3, multi_sample=True)) < plain / 2


def test_one_interval_of_tvo_is_reinforce_draw_by_draw() -> None:
    """In one layer, where credit can't be more local."""
    found = []
    for scheme in (TVO(4, num_intervals=1), Reinforce(4)):
        model, guide = (part((3, 4), seed=0).double() for part in (BeliefNetwork, FactorialRecognition))
        pyro.set_rng_seed(0)
        scheme.loss_and_grads(model, guide, observations={"x": DATA})
        found.append(named_gradients(model, guide))
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], rtol=1e-10), name


def exact_thermodynamic(machine: Machine, *, upper: bool) -> Tensor:
    """The objective with the exact pi_b, which depend on both halves."""
    log_p, log_q = machine.log_joint(DATA), machine.log_guide(DATA)
    total = torch.zeros(())
    for low, high in itertools.pairwise(THERMODYNAMIC):
        beta = high if upper else low
        path = (1 - beta) * log_q + beta * log_p
        total = total + (high - low) * (path.softmax(-1) * (log_p - log_q)).sum()
    return total


def test_tvo_approaches_its_exact_gradient_with_many_particles() -> None:
    """The bias of the weights is of order 1/K: little is left at 200 particles."""
    machine = tiny_machine("sigmoid")
    lower, upper = (exact_thermodynamic(machine, upper=upper) for upper in (False, True))
    assert float(lower.detach()) < float(machine.log_evidence(DATA).sum().detach()) < float(upper.detach())
    exact = exact_gradient(machine, -lower)
    model, guide = replicates(machine, 2000)
    pyro.set_rng_seed(0)
    TVO(200, partition=THERMODYNAMIC).restart_losses(model, guide, observations={"x": DATA}).sum().backward()
    for name, gradient in named_gradients(model, guide).items():
        error = (gradient.mean(0) - exact[name][0]).abs().max()
        assert float(error) < 0.02 * max(1.0, float(exact[name].abs().max())), name


def test_leave_one_out_lowers_the_variance() -> None:
    assert guide_variance(Reinforce(2)) < guide_variance(Reinforce(1)) / 2


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
