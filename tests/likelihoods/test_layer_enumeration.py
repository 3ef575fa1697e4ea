"""States of layers: each once, in any slices, with probabilities that sum to one."""

from __future__ import annotations

import pytest
import torch
from checker import tiny_machine
from oracle import IMAGING, binary_rows

from pyro_helm.likelihoods.layer_enumeration import levels, num_terms, pieces
from pyro_helm.models import BeliefNetwork


@pytest.mark.parametrize("imaging", IMAGING)
def test_each_layers_states_have_the_probabilities_of_the_joint(imaging: str) -> None:
    machine = tiny_machine(imaging)
    with torch.no_grad():
        top, bottom = levels(machine.model, 2**10, torch.zeros((), dtype=torch.float64))
        prior = machine.log_joint(binary_rows(3)).exp().sum(0).reshape(4, 4)
    assert torch.allclose(bottom.log_prob[0].exp(), prior.sum(1))
    assert torch.allclose(top.log_prob[0].exp(), prior.sum(0))


def test_terms_are_those_of_adjacent_layers() -> None:
    assert num_terms(BeliefNetwork((6, 4, 12, 4)), num_data=2) == 2**16 + 2**16 + 2**4 + 2 * 2**4
    assert num_terms(BeliefNetwork((6, 4), restarts=3), num_data=5) == 3 * (2**4 + 5 * 2**4)


@pytest.mark.parametrize("terms_at_once", [1, 30, 10_000])
def test_pieces_cover_every_pair_once(terms_at_once: int) -> None:
    layer = BeliefNetwork((2, 3), restarts=2).generative[0]
    seen = torch.zeros(7, 8)
    for states, rows in pieces(layer, 7, 8, terms_at_once):
        for some in rows:
            seen[some, states] += 1
    assert bool((seen == 1).all())
