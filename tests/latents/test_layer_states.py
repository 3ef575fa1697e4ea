"""States of layers: each once, in any slices, with probabilities that sum to one."""

from __future__ import annotations

import pyro
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pyro_helm.latents.layer_states as layer_enumeration
from pyro_helm.latents.layer_states import PAIRS_PER_TERM, Level, Rows, levels, log_marginal, num_terms, pieces
from pyro_helm.layers import Imaging
from pyro_helm.models import BeliefNetwork
from tests.checker import tiny_machine
from tests.oracle import IMAGING, binary_rows


@pytest.mark.parametrize("imaging", IMAGING)
def test_each_layers_states_have_the_probabilities_of_the_joint(imaging: str) -> None:
    machine = tiny_machine(imaging)
    with torch.no_grad():
        top, bottom = levels(machine.model, 2**10, torch.zeros((), dtype=torch.float64))
        prior = machine.log_joint(binary_rows(3)).exp().sum(0).reshape(4, 4)
    assert torch.allclose(bottom.log_prob[0].exp(), prior.sum(1))
    assert torch.allclose(top.log_prob[0].exp(), prior.sum(0))


def test_terms_are_those_of_adjacent_layers() -> None:
    model = BeliefNetwork((6, 4, 12, 4))
    assert num_terms(model, num_data=2, pairs_per_term=1) == 2**16 + 2**16 + 2**4 + 2 * 2**4
    assert num_terms(model, num_data=2) == 2 * 2**16 // PAIRS_PER_TERM + 2**4 + 2 * 2**4
    assert num_terms(BeliefNetwork((6, 4), restarts=3), num_data=5) == 3 * (2**4 + 5 * 2**4)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 6)),
    imaging=st.sampled_from(IMAGING),
    spread=st.sampled_from([1.0, 20.0, 80.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    terms_at_once=st.sampled_from([1, 100, 2**20]),
    seed=st.integers(0, 10_000),
)
def test_states_in_halves_have_the_sum_of_log_space_however_improbable(
    sizes: tuple[int, int], imaging: str, spread: float, dtype: torch.dtype, terms_at_once: int, seed: int
) -> None:
    model = BeliefNetwork((2, *sizes), imaging, restarts=2, seed=seed).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad(), pyro.validation_enabled(False):
        for parameter in model.parameters():
            parameter += spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
            parameter.clamp_(-80, 80)  # odds of e^80 are a number in single precision too
        above, level = levels(model, terms_at_once, torch.zeros((), dtype=dtype))
        in_log_space = log_marginal(model.generative[1], level.states, above, terms_at_once)
    assert level.log_prob.dtype == dtype
    # in single precision that of the terms, sums of units' log-probabilities
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(level.log_prob, in_log_space, rtol=tolerance, atol=tolerance)


def test_states_beyond_the_range_of_numbers_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = BeliefNetwork((2, 12, 2), seed=0)
    held: list[int] = []

    def recorded(layer: Imaging, values: Rows, above: Level, terms_at_once: int) -> torch.Tensor:
        held.append(len(values) * layer.num_units)
        return log_marginal(layer, values, above, terms_at_once)

    monkeypatch.setattr(layer_enumeration, "log_marginal", recorded)
    with torch.no_grad(), pyro.validation_enabled(False):
        model.generative[1].learned_leak_unconstrained.fill_(-120)
        _, level = levels(model, 500, torch.zeros(()))
    assert len(held) > 1
    assert max(held) <= 500
    assert level.log_prob.isfinite().all()


def test_a_state_beyond_the_range_of_numbers_is_summed_in_log_space() -> None:
    model = BeliefNetwork((2, 4, 1)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.generative[1].learned_leak_unconstrained.fill_(-200)  # four units on: e^-800
        _, level = levels(model, 2**20, torch.zeros((), dtype=torch.float64))
    assert level.log_prob[0, -1].item() == pytest.approx(-800)
    assert level.log_prob[0, 0].item() == pytest.approx(0)


@pytest.mark.parametrize("terms_at_once", [1, 30, 10_000])
def test_pieces_cover_every_pair_once(terms_at_once: int) -> None:
    layer = BeliefNetwork((2, 3), restarts=2).generative[0]
    seen = torch.zeros(7, 8)
    for states, rows in pieces(layer, 7, 8, terms_at_once):
        for some in rows:
            seen[some, states] += 1
    assert bool((seen == 1).all())
