"""The small scripts of the paper's claims, at their smallest, say what docs/paper.md says of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from analysis.paper import factorial_posteriors, obvious_rule, partial_e_step, wake_sleep_cost
from pyro_helm.layers import Odds
from tests.oracle import binary_rows
from tests.test_printed import machine


@pytest.mark.parametrize("name", ["full", "half", "one_pattern"])
def test_no_step_of_em_lowers_the_bound_however_partial(name: str) -> None:
    heights, log_p = partial_e_step.climb(getattr(partial_e_step, name), 8)
    assert min(b - a for a, b in pairwise(heights)) > 0
    assert heights[-1] <= log_p[-1] + 1e-12


def test_f_and_the_sleep_cost_are_those_of_the_library() -> None:
    pair = machine("sigmoid", wake_sleep_cost.SIZES)
    with torch.no_grad():
        theta = [
            torch.cat([layer.leak, getattr(layer, "weight", layer.leak[:, :0])], -2) for layer in pair.model.generative
        ]
        phi = [torch.cat([layer.leak, layer.weight], -2) for layer in pair.guide.recognition]
        f = -pair.elbo(wake_sleep_cost.DATA).mean()
        every = binary_rows(wake_sleep_cost.SIZES[0])
        of_posterior = (pair.log_evidence(every).exp() * pair.posterior_joint(every)).sum()
        entropy_of_dreams = (pair.log_evidence(every).exp() * pair.log_evidence(every)).sum()
        sleep = of_posterior - entropy_of_dreams - pair.sleep_phi()
    assert float(wake_sleep_cost.free_energy(theta, phi)) == pytest.approx(float(f), rel=1e-9)
    assert float(wake_sleep_cost.sleep_cost(theta, phi)) == pytest.approx(float(sleep), rel=1e-9)


def test_each_phase_lowers_its_own_cost() -> None:
    path = wake_sleep_cost.run(4, 20)
    assert (path[:, 1, 0] <= path[:, 0, 0]).all()
    assert (path[:, 2, 1] <= path[:, 1, 1]).all()


def test_multi_information_is_zero_for_independent_units_and_the_entropy_of_a_copy() -> None:
    on = torch.tensor([0.1, 0.5, 0.7]).double()
    rows = binary_rows(3)
    independent = (on**rows * (1 - on) ** (1 - rows)).prod(-1)
    assert float(factorial_posteriors.multi_information(independent)) == pytest.approx(0, abs=1e-12)
    copies = torch.tensor([0.5, 0, 0, 0.5]).double()  # both off or both on
    assert float(factorial_posteriors.multi_information(copies)) == pytest.approx(torch.log(torch.tensor(2.0)))


def test_the_obvious_rule_is_a2_of_means() -> None:
    layer = Odds(1, 1, fixed_leak=1e-9, learned_leak=False)
    with torch.no_grad():
        layer.weight = torch.full((1, 1, 1), 20.0)
    q = torch.tensor([[0.1]])
    obvious = obvious_rule.ObviousMeanField()._log_probs(layer, q)
    assert float(obvious.on.detach().exp()) == pytest.approx(2 / 3, rel=1e-5)
    assert float(obvious.off.detach().exp()) == pytest.approx(1 / 3, rel=1e-5)
