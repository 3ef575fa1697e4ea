"""Section 4 of Dayan, Hinton, Neal & Zemel 1995: the delta rule in both phases, and the end point Q = P."""

from __future__ import annotations

import pyro
import pytest
import torch
from torch import Tensor

from pyro_helm.programs.dreams import draw_from_model
from pyro_helm.programs.particles import Particles, draw_from_guide
from tests.checker import exact_gradient
from tests.oracle import binary_rows
from tests.printed import Layers, p_3_3, q_3_1, with_bias
from tests.test_printed import X, machine, weights


def activities(particles: Particles, *, wake: bool) -> Layers:
    """The binary activities of the drawn machine, ``[data, units]`` by layer."""
    sites = particles.guide_sites if wake else particles.model_sites
    drawn = {int(name[1:]) + 1: node["value"] for name, node in sites.items() if name[0] == "h"}
    values = {**drawn, 1: X if wake else sites["x"]["value"]}
    return {level: s.reshape(-1, s.shape[-1]).detach() for level, s in values.items()}


def delta_rule(before: Tensor, target: Tensor, probability: Tensor) -> Tensor:
    """Widrow and Hoff's: activity of the sending unit times error of the receiving one, summed over the data."""
    return before.T @ (target - probability)


def agrees(gradient: dict[str, Tensor], layer: str, change: Tensor) -> None:
    """Weights and, in the last row, biases of a layer are changed so; a top layer has no weights."""
    bias = gradient[f"{layer}.learned_leak_unconstrained"][0]
    weight = gradient.get(f"{layer}.weight_unconstrained", bias[None, :0])[0]
    assert torch.allclose(torch.cat([weight, bias]), change, rtol=1e-9)
    assert (change != 0).any()


def test_both_phases_are_the_delta_rule_for_sigmoid_units() -> None:
    pair = machine("sigmoid")
    theta, phi = weights(pair)
    pyro.set_rng_seed(0)
    arguments = {"observations": {"x": X}}
    wake = draw_from_guide(pair.model, pair.guide, 1, kwargs=arguments)
    s = activities(wake, wake=True)
    ours = exact_gradient(pair, sum(log_p.sum() for log_p in wake.log_p.values()) + torch.zeros(()))
    for level in (1, 2, 3):
        above = with_bias(s[level + 1]) if level < 3 else torch.ones_like(s[level][:, :1])  # the top has its bias alone
        change = delta_rule(above, s[level], p_3_3(theta[level], above))
        agrees(ours, f"model.generative.{level - 1}", change)

    sleep = draw_from_model(pair.model, pair.guide, 1, kwargs=arguments)
    s = activities(sleep, wake=False)
    ours = exact_gradient(pair, sum(log_q.sum() for log_q in sleep.log_q.values()) + torch.zeros(()))
    for level in (2, 3):
        change = delta_rule(with_bias(s[level - 1]), s[level], q_3_1(phi[level], s[level - 1]))
        agrees(ours, f"guide.recognition.{level - 2}", change)


@pytest.mark.parametrize("moved", [-3.0, 2.0])
def test_the_best_recognition_bias_of_a_cause_moves_with_its_prior_one_for_one(moved: float) -> None:
    """Section 5: recognition takes the prior of the layer above into account, it does not just invert the weights."""
    pair = machine("sigmoid", (4, 1))

    def best() -> tuple[Tensor, float]:
        """Weights and bias of the logistic posterior, which recognition can express, from its values by enumeration."""
        rows = torch.cat([torch.zeros(1, 4), torch.eye(4)]).double()
        logit = torch.logit(pair.posterior(rows)[:, 1].detach())
        return logit[1:] - logit[0], float(logit[0])

    weight, bias = best()
    with torch.no_grad():
        pair.model.generative[1].learned_leak_unconstrained += moved
    again, shifted = best()
    assert torch.allclose(again, weight, rtol=1e-9)
    assert shifted - bias == pytest.approx(moved, rel=1e-9)


def test_where_q_is_the_posterior_the_sleep_phase_rests_and_the_wake_phase_climbs_the_likelihood() -> None:
    """A single sigmoid cause has a logistic posterior, which recognition can express exactly."""
    pair = machine("sigmoid", (4, 1))
    with torch.no_grad():
        off, on = pair.log_joint(torch.zeros(1, 4).double())[0]
        theta = pair.model.generative[0].weight[0, 0]
        pair.guide.recognition[0].weight_unconstrained.copy_(theta[None, :, None])
        pair.guide.recognition[0].learned_leak_unconstrained.fill_(float(on - off))
    every = binary_rows(4)
    assert torch.allclose(pair.log_guide(every).exp(), pair.posterior(every), atol=1e-12)
    sleep = exact_gradient(pair, pair.sleep_phi())
    assert all(torch.allclose(gradient, torch.zeros_like(gradient), atol=1e-12) for gradient in sleep.values())
    wake, climb = (exact_gradient(pair, value) for value in (pair.wake_theta(X).sum(), pair.log_evidence(X).sum()))
    assert all(torch.allclose(wake[name], climb[name], rtol=1e-9, atol=1e-12) for name in wake if "model" in name)
