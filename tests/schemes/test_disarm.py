"""DisARM: antithetic partners of Bernoulli draws."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from pyro_helm.programs.contract import Site
from pyro_helm.schemes.disarm import DisARM, antithetic

PROBS = torch.tensor([0.05, 0.5, 0.8])


def site(value: Tensor, fn: Any) -> Site:
    with poutine.trace() as traced, pyro.plate("data", len(value), dim=-1):
        pyro.sample("h", fn, obs=value)
    node: Site = traced.trace.nodes["h"]
    return node


def test_the_partner_has_the_same_distribution_and_is_as_unlike_as_can_be() -> None:
    pyro.set_rng_seed(0)
    number = 40_000
    value = (torch.rand(number, 3) < PROBS).float()
    partner, _ = antithetic(site(value, dist.Bernoulli(PROBS).to_event(1)))
    error = (PROBS * (1 - PROBS) / number).sqrt()
    assert float(((partner.mean(0) - PROBS) / error).abs().max()) < 4  # z-threshold
    both_on = (value * partner).mean(0)
    expected = (2 * PROBS - 1).clamp(min=0)  # u < p and 1 - u < p
    assert torch.allclose(both_on, expected, atol=4 * 0.5 / number**0.5)


def test_a_unit_that_agrees_with_its_partner_has_no_gradient() -> None:
    pyro.set_rng_seed(0)
    logits = torch.logit(PROBS).requires_grad_()
    value = (torch.rand(1000, 3) < PROBS).float()
    partner, factor = antithetic(site(value, dist.Bernoulli(logits=logits).to_event(1)))
    for datum in range(20):
        (gradient,) = torch.autograd.grad(factor[datum], logits, retain_graph=True)
        differs = value[datum] != partner[datum]
        sign = torch.where(partner[datum] == 0, 1.0, -1.0)
        expected = torch.where(differs, sign * torch.sigmoid(logits.detach().abs()), 0.0)
        assert torch.allclose(gradient, expected)


def test_what_is_masked_has_no_gradient() -> None:
    pyro.set_rng_seed(0)
    logits = torch.zeros(3, requires_grad=True)
    with poutine.mask(mask=torch.tensor([True, False])):
        node = site(torch.ones(2, 3), dist.Bernoulli(logits=logits).to_event(1))
    _, factor = antithetic(node)
    assert float(factor[1].detach()) == 0


def test_a_reparameterised_site_is_taken_with_and_without_gradients() -> None:
    weight = torch.tensor(0.3, requires_grad=True)

    def program(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 2, dim=-1):
            z = pyro.sample("z", dist.Normal(weight, 1.0))
            b = pyro.sample("b", dist.Bernoulli(logits=z))
            if observations:
                pyro.sample("x", dist.Normal(b + z, 1.0), obs=observations["x"])

    def guide(observations: dict[str, Tensor]) -> None:
        program({})

    for scheme in (DisARM(2), DisARM(2, multi_sample=True)):
        pyro.set_rng_seed(0)
        with_gradients = scheme.differentiable_loss(program, guide, observations={"x": torch.ones(2)})
        pyro.set_rng_seed(0)
        assert scheme.loss(program, guide, observations={"x": torch.ones(2)}) == float(with_gradients.detach())
