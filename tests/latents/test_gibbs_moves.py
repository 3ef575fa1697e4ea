"""Gibbs moves: each leaves its distribution as it is."""

from __future__ import annotations

import pytest
import torch

from pyro_helm.latents.gibbs_moves import factors, gibbs
from tests.checker import tiny_machine
from tests.oracle import IMAGING, binary_rows

CHAINS = 40_000


@pytest.mark.parametrize("imaging", IMAGING)
@pytest.mark.parametrize("from_guide", [True, False])
@pytest.mark.parametrize("level", [1, 2])
def test_a_move_leaves_the_intermediate_distribution_as_it_is(imaging: str, from_guide: bool, level: int) -> None:
    machine, beta = tiny_machine(imaging), 0.6
    x = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    with torch.no_grad():
        log_joint, states = machine.log_joint(x)[0], machine.states
        if from_guide:
            log_f = beta * log_joint + (1 - beta) * machine.log_guide(x)[0]
        else:
            # p(h) p(x | h)^beta, from p(h) as the sum of the joint over every x
            every_x = binary_rows(3)
            log_prior = machine.log_joint(every_x).logsumexp(0)
            log_f = log_prior + beta * (log_joint - log_prior)
        probabilities = log_f.softmax(0)
        torch.manual_seed(0)
        drawn = torch.multinomial(probabilities, CHAINS, replacement=True)
        units = [x[None], *(state[drawn][:, None, None, :] for state in states)]
        gibbs(factors(machine.model, machine.guide if from_guide else None), units, level, beta)
        moved = torch.cat([units[1], units[2]], -1)[:, 0, 0] @ torch.tensor([8.0, 4, 2, 1]).double()
        counts = torch.bincount(moved.long(), minlength=16).double()
    z = (counts - CHAINS * probabilities) / (CHAINS * probabilities * (1 - probabilities)).sqrt()
    assert float(z.abs().max()) < 4.5  # z-threshold
    assert not torch.equal(moved.long(), drawn)


def test_large_odds_leave_no_rounding_behind() -> None:
    machine = tiny_machine("odds")
    model = machine.model.float()
    with torch.no_grad():
        model.generative[0].weight_unconstrained[0, 0].fill_(20.0)
    (likelihood, *_), on = factors(model, None), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    units = [torch.ones(1, 1, 1, 3).double(), torch.ones(1, 1, 1, 2).double()]
    off = likelihood.turned_over(likelihood.drive(units), 1, 0, on[0])
    units[1][..., 0] = 0
    assert torch.allclose(off, likelihood.drive(units), rtol=1e-6)
