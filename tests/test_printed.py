"""Equations 2.1 to 3.11 of Dayan, Hinton, Neal & Zemel 1995, as printed, are what the library computes."""

from __future__ import annotations

import pytest
import torch
from pyro import poutine
from torch import Tensor

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.layers import Imaging
from pyro_helm.likelihoods.exact import exact_log_likelihood
from pyro_helm.models import BeliefNetwork
from tests.oracle import IMAGING, Machine, binary_rows
from tests.printed import (
    Layers,
    Rule,
    energy_3_7,
    free_energy_3_9,
    free_energy_b,
    generative,
    kl_3_11,
    p_3_3,
    p_a1,
    p_a2,
    p_a3,
    p_alpha_3_4,
    p_d_given_alpha_3_5,
    q_3_1,
    q_alpha_3_2,
)

SIZES = (4, 3, 2)
RULES: dict[str, Rule] = {"sigmoid": p_3_3, "noisy_or": p_a1, "odds": p_a2}
X = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 1, 0]], dtype=torch.float64)

every_imaging = pytest.mark.parametrize("imaging", IMAGING)


def machine(imaging: str, sizes: tuple[int, ...] = SIZES, seed: int = 1) -> Machine:
    model, guide = BeliefNetwork(sizes, imaging, seed=seed).double(), FactorialRecognition(sizes, seed=seed).double()
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in [*model.parameters(), *guide.parameters()]:
            parameter += torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
    return Machine(model, guide)


def weights(pair: Machine) -> tuple[Layers, Layers]:
    """``theta`` and ``phi`` of a machine as the paper writes them, biases in the last row."""

    def rows(layer: Imaging, imaging: str) -> Tensor:
        weight = getattr(layer, "weight", layer.leak[..., :0, :])
        both = torch.cat([weight[0], layer.leak[0]])
        return 1 - torch.exp(-both) if imaging == "noisy_or" else both

    layers = zip(pair.model.generative, pair.model.imaging, strict=True)
    theta = {level: rows(layer, imaging) for level, (layer, imaging) in enumerate(layers, 1)}
    phi = {level: rows(layer, "sigmoid") for level, layer in enumerate(pair.guide.recognition, 2)}
    return theta, phi


def explanations(pair: Machine, x: Tensor) -> Layers:
    """Every alpha for every datum: activities ``[data, alpha, units]`` by layer."""
    states = [layer.expand(len(x), -1, -1) for layer in pair.states]
    return {1: x[:, None].expand(-1, states[0].shape[1], -1), **dict(enumerate(states, 2))}


def traced(pair: Machine, s: Layers) -> tuple[Tensor, Tensor]:
    """``log p(alpha) p(d | alpha)`` and ``log Q_alpha`` by traces of the two programs, ``[data, alpha]``."""
    values = {f"h{level - 1}": layer.flatten(0, 1) for level, layer in s.items() if level > 1}
    observations = {"x": s[1].flatten(0, 1)}
    totals = []
    for program in (pair.model, pair.guide):
        trace = poutine.trace(poutine.condition(program, values)).get_trace(observations)
        trace.compute_log_prob()
        sites = [node["log_prob"] for name, node in trace.nodes.items() if name in {"x", *values}]
        totals.append(torch.stack(sites).sum(0).reshape(s[1].shape[:2]))
    return totals[0], totals[1]


@every_imaging
def test_2_1_to_2_6_are_exact_and_a_bound(imaging: str) -> None:
    pair = machine(imaging)
    theta, phi = weights(pair)
    s = explanations(pair, X)
    p = generative(s, theta, RULES[imaging])
    joint = p_alpha_3_4(s, p) * p_d_given_alpha_3_5(s, p)
    log_p = torch.log(joint.sum(-1))  # 2.1
    assert torch.allclose(exact_log_likelihood(pair.model, X)[0], log_p, rtol=1e-12)
    energy = -torch.log(joint)  # 2.2, 3.6
    posterior = joint / joint.sum(-1, keepdim=True)  # 2.3
    boltzmann = torch.exp(-energy) / torch.exp(-energy).sum(-1, keepdim=True)
    assert torch.allclose(posterior, boltzmann, rtol=1e-12)
    free = (posterior * energy).sum(-1) - (-(posterior * torch.log(posterior)).sum(-1))
    assert torch.allclose(log_p, -free, rtol=1e-12)  # 2.4
    q = q_alpha_3_2(s, phi)
    divergence = (q * torch.log(q / posterior)).sum(-1)
    free_of_q = (q * energy).sum(-1) + (q * torch.log(q)).sum(-1)
    assert torch.allclose(log_p, -free_of_q + divergence, rtol=1e-12)  # 2.5 and 2.6
    ours = helm.exact_posterior(pair.model, pair.guide, X)
    assert ours.kl is not None
    assert torch.allclose(ours.kl[0], divergence, rtol=1e-9)
    units = {f"h{level}": states for level, states in enumerate(pair.states, 1)}
    assert torch.allclose(ours.log_prob(units)[:, 0].T.exp(), posterior, rtol=1e-9)
    # no distribution has a lower free energy than the Boltzmann distribution
    for seed in range(20):
        any_q = torch.randn(joint.shape, generator=torch.Generator().manual_seed(seed)).double().softmax(-1)
        assert ((any_q * (energy + torch.log(any_q))).sum(-1) > -log_p).all()


@every_imaging
def test_3_1_to_3_7_are_the_programs(imaging: str) -> None:
    """With 3.3, A.1 or A.2 for the units, whose leak is a cause that is always on."""
    pair = machine(imaging)
    theta, phi = weights(pair)
    s = explanations(pair, X)
    p = generative(s, theta, RULES[imaging])
    log_p, log_q = traced(pair, s)
    assert torch.allclose(torch.log(q_alpha_3_2(s, phi)), log_q, rtol=1e-9)
    assert torch.allclose(torch.log(p_alpha_3_4(s, p) * p_d_given_alpha_3_5(s, p)), log_p, rtol=1e-9)
    assert torch.allclose(energy_3_7(s, p), -log_p, rtol=1e-9)


@every_imaging
def test_3_8_and_3_9_agree_and_average_to_f(imaging: str) -> None:
    pair = machine(imaging)
    theta, phi = weights(pair)
    s = explanations(pair, X)
    p = generative(s, theta, RULES[imaging])
    q = {1: s[1], **{level: q_3_1(phi[level], s[level - 1]) for level in phi}}
    log_p, log_q = traced(pair, s)
    of_alpha = free_energy_3_9(s, q, p)
    assert torch.allclose(of_alpha, energy_3_7(s, p) + torch.log(q_alpha_3_2(s, phi)), rtol=1e-9)  # 3.8
    assert torch.allclose(of_alpha, -log_p + log_q, rtol=1e-9)
    assert torch.allclose((log_q.exp() * of_alpha).sum(-1), -pair.elbo(X), rtol=1e-9)


def test_the_reinforce_gradient_of_3_9_is_that_of_f() -> None:
    """E[F_alpha grad log Q_alpha], as the paper names it after 3.9: log Q's own gradient averages to 0."""
    pair = machine("odds")
    log_p, log_q = traced(pair, explanations(pair, X))
    phi = list(pair.guide.parameters())
    surrogate = (log_q.exp().detach() * (log_q - log_p).detach() * log_q).sum()
    ours = torch.autograd.grad(surrogate, phi, retain_graph=True)
    for one, other in zip(ours, torch.autograd.grad(-pair.elbo(X).sum(), phi), strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


DETERMINISTIC: dict[str, Rule] = {"sigmoid": p_3_3, "noisy_or": p_a1, "odds": p_a3}


def passed_up(phi: Layers, x: Tensor) -> Layers:
    """3.10: means of every layer."""
    q = {1: x}
    for level in phi:
        q[level] = q_3_1(phi[level], q[level - 1])
    return q


@every_imaging
def test_3_10_and_3_11_are_the_deterministic_machine(imaging: str) -> None:
    pair = machine(imaging)
    theta, phi = weights(pair)
    q = passed_up(phi, X)
    for ours, level in zip(pair.guide.mean_field({"x": X}), phi, strict=True):
        assert torch.allclose(ours.mean, q[level], rtol=1e-12)
    # the exact mean of A.2 for few causes, as in the paper; on top there are none
    kl = kl_3_11(q, generative(q, theta, DETERMINISTIC[imaging], of_top=RULES[imaging]))
    loss = helm.MeanField(max_enumerated=0).loss(pair.model, pair.guide, observations={"x": X})
    assert loss == pytest.approx(float(kl.detach().sum()), rel=1e-9)


@every_imaging
def test_the_sign_of_3_11_is_a_misprint(imaging: str) -> None:
    """Printed is ``-F = sum KL``. The sum is F itself: so appendix B begins, and so 2.5 has it for certain units."""
    pair = machine(imaging)
    theta, phi = weights(pair)
    q = passed_up(phi, X)
    p = generative(q, theta, DETERMINISTIC[imaging])
    assert torch.allclose(kl_3_11(q, p), free_energy_b(q, p), rtol=1e-9)
    # one unit of layer 2 and recognition that is certain: nothing is approximated, and F is -log p(d, alpha)
    certain = machine("sigmoid", (4, 1))
    theta, phi = weights(certain)
    s = {1: X, 2: torch.ones(len(X), 1).double()}
    nearly = {1: X, 2: s[2] * (1 - 1e-12)}
    energy = energy_3_7(s, generative(s, theta, p_3_3))
    assert torch.allclose(kl_3_11(nearly, generative(nearly, theta, p_3_3)), energy, atol=1e-8)
    printed = -kl_3_11(nearly, generative(nearly, theta, p_3_3))  # F, if -F were the sum
    assert (printed < -0.1).all(), "which is below any F of binary units"


def test_the_mean_of_the_log_is_not_the_log_of_the_mean() -> None:
    """The end of appendix B, for the odds units of a layer under three causes."""
    theta = torch.tensor([[20.0], [1.0], [0.05], [0.01]]).double()
    q = torch.tensor([0.1, 0.5, 0.9]).double()
    states = torch.cat([binary_rows(3), torch.ones(8, 1).double()], -1)
    probability = (q ** states[:, :3] * (1 - q) ** (1 - states[:, :3])).prod(-1)
    p = p_a2(theta, states)[:, 0]
    assert probability @ torch.log(p) < torch.log(probability @ p) - 0.3
    assert probability @ torch.log(1 - p) < torch.log(1 - probability @ p) - 0.1
