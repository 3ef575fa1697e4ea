"""Gibbs: chains belong to their data, go on where they were, and need no guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.particles import Program, draw_from_prior
from pyro_helm.programs.row_keys import keys_of
from pyro_helm.schemes import Gibbs
from pyro_helm.schemes.states_of_data import KeptStates
from tests.checker import DATA, tiny_machine

KWARGS = {"observations": {"x": DATA}}


def chains_of(scheme: Gibbs, model: BeliefNetwork) -> KeptStates:
    (chains,) = scheme._memory.of(model, None).values()
    assert isinstance(chains, KeptStates)
    return chains


def test_a_datum_has_its_key_in_whatever_minibatch_and_equal_ones_are_numbered() -> None:
    def keys(x: Tensor) -> list[int]:
        found: list[int] = keys_of(
            draw_from_prior(tiny_machine("odds").model, 1, (), {"observations": {"x": x}})
        ).tolist()
        return found

    first = keys(DATA)
    assert len(set(first)) == 3
    again = keys(DATA[[2, 0, 0]])
    assert again[:2] == [first[2], first[0]]
    assert again[2] not in first
    assert keys(DATA[[0, 2, 0]]) == [first[0], first[2], again[2]]


def test_a_chain_goes_on_where_it_was_in_whatever_minibatch() -> None:
    chains = KeptStates("Gibbs")
    keys = torch.tensor([7, 3, 5])
    states = {"h": torch.tensor([[[0.0, 1.0, 1.0]]])}  # [chains, restarts, data]
    chains.remember(keys, states, 10)
    fresh = {"h": torch.full((1, 1, 3), 0.0)}
    assert chains.recall(torch.tensor([5, 7, 9]), fresh)["h"].tolist() == [[[1, 0, 0]]]
    chains.remember(torch.tensor([9, 7]), {"h": torch.tensor([[[1.0, 1.0]]])}, 10)
    assert chains.keys.tolist() == [3, 5, 7, 9]
    assert chains.recall(torch.tensor([3, 5, 7, 9]), {"h": torch.zeros(1, 1, 4)})["h"].tolist() == [[[1, 1, 1, 1]]]


def test_chains_persist_from_step_to_step() -> None:
    scheme, machine = Gibbs(2), tiny_machine("sigmoid")
    scheme.loss(machine.model, machine.guide, **KWARGS)
    assert len(chains_of(scheme, machine.model).keys) == 3
    scheme.loss(machine.model, machine.guide, observations={"x": 1 - DATA[:2]})
    assert len(chains_of(scheme, machine.model).keys) == 5
    assert chains_of(scheme, machine.model).states["h1"].shape == (5, 2, 1, 2)


def test_without_a_guide_the_model_alone_learns() -> None:
    model = BeliefNetwork((6, 3), seed=0)
    x = (torch.rand(60, 1, generator=torch.Generator().manual_seed(0)) < 0.5).float().expand(60, 6).contiguous()
    scheme, descent = Gibbs(2), torch.optim.Adam(model.parameters(), lr=0.05)
    pyro.set_rng_seed(0)
    losses = []
    for _ in range(150):
        descent.zero_grad()
        losses.append(scheme.loss_and_grads(model, None, observations={"x": x}))
        descent.step()
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_blocks_cross_where_single_units_are_stuck() -> None:
    """Two units that must agree: one at a time never leaves the state it is in."""

    def model(observations: Mapping[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pair = pyro.sample("pair", dist.Bernoulli(torch.tensor([0.5, 0.5])).to_event(1))
            agree = (pair[..., 0] == pair[..., 1]).float()
            pyro.sample("x", dist.Bernoulli(1e-9 + (1 - 2e-9) * agree), obs=observations["x"][:, 0])

    def moved(block_size: int) -> float:
        scheme, x = Gibbs(200, num_sweeps=5, block_size=block_size), torch.ones(1, 1)
        pyro.set_rng_seed(0)
        scheme.loss(model, None, observations={"x": x})
        (chains,) = scheme._memory.of(model, None).values()
        before = chains.states["pair"].clone()
        scheme.loss(model, None, observations={"x": x})
        return float((chains.states["pair"] != before).float().mean())

    assert moved(1) == 0
    assert abs(moved(2) - 0.5) < 4 * 0.5 / 200**0.5  # z-threshold 4


def test_a_network_and_the_same_program_move_alike() -> None:
    """The moves of layers and those of any program, from equal chains, have the same distribution."""
    machine = tiny_machine("noisy_or")
    exact = machine.posterior(DATA)

    def program(observations: Mapping[str, Tensor]) -> None:
        machine.model(observations)

    for model in (machine.model, program):
        pyro.set_rng_seed(0)
        scheme = Gibbs(4000, num_sweeps=25)
        scheme.loss(model, None, **KWARGS)
        (chains,) = scheme._memory.of(model, None).values()
        order = torch.argsort(keys_of(draw_from_prior(machine.model, 1, (), KWARGS)))
        state = torch.cat([chains.states["h1"], chains.states["h2"]], -1)[:, :, 0].double()
        index = (state @ torch.tensor([8.0, 4, 2, 1]).double()).long()
        share = torch.nn.functional.one_hot(index, 16).double().mean(1)
        z = (share - exact[order]) / (exact[order] * (1 - exact[order]) / 4000).sqrt()
        assert float(z.abs().max()) < 4.8


@pytest.mark.parametrize("setting", ["num_sweeps", "block_size", "max_data"])
def test_settings_out_of_range_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=f"{setting} must be at least 1, got 0"):
        Gibbs(1, **{setting: 0})


def test_a_continuous_site_is_refused_by_name() -> None:
    def model(observations: Mapping[str, Tensor]) -> None:
        with pyro.plate("data", 3, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=observations["x"][:, 0])

    with pytest.raises(TypeError, match="Gibbs moves draw Bernoulli and Categorical sites, but site 'z' is a Normal"):
        Gibbs().loss(model, None, **KWARGS)


def test_a_factor_has_no_part_in_the_key_of_a_datum() -> None:
    def model(observations: Mapping[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            h = pyro.sample("h", dist.Bernoulli(0.5))
            pyro.factor("pull", 0.3 * h)
            pyro.sample("x", dist.Bernoulli(0.2 + 0.6 * h), obs=observations["x"][:, 0])

    assert Gibbs(2).loss(model, None, **KWARGS) > 0


def test_a_model_that_observes_nothing_has_no_data_to_tell_apart() -> None:
    def model(observations: Mapping[str, Tensor]) -> None:
        with pyro.plate("data", 3, dim=-1):
            pyro.sample("h", dist.Bernoulli(0.5))

    with pytest.raises(ValueError, match="the model has no observed site"):
        Gibbs().loss(model, None, **KWARGS)


# --- data that are equal but for what stands beside them ----------------------------------------------------------

DRIFT = torch.tensor([2.0, -2.0])
"""Beside each of two equal data; ``a`` is on with probability sigmoid(drift), 0.881 and 0.119."""


def coins(observations: Mapping[str, Tensor], drift: Tensor) -> None:
    """Two coins that turn over together or hardly ever."""
    with pyro.plate("data", len(drift), dim=-1):
        a = pyro.sample("a", dist.Bernoulli(logits=drift))
        b = pyro.sample("b", dist.Bernoulli(0.001 + 0.998 * a))
        pyro.sample("x", dist.Bernoulli(0.3 + 0.0 * b), obs=observations["x"])


def coins_that_know_their_rows(observations: Mapping[str, Tensor]) -> None:
    coins(observations, DRIFT)


def named(rows: list[int]) -> dict[str, Any]:
    return {"observations": {"x": torch.ones(len(rows))}, "drift": DRIFT[rows]}


@pytest.mark.parametrize(
    ("model", "batches"),
    [
        pytest.param(coins, [named([0, 1])], id="named, all data"),
        pytest.param(coins, [named([0]), named([1])], id="named, minibatches"),
        pytest.param(coins_that_know_their_rows, [{"observations": {"x": torch.ones(2)}}], id="known by the row"),
    ],
)
def test_equal_data_with_other_covariates_have_chains_of_their_own(model: Program, batches: list[Any]) -> None:
    scheme = Gibbs(2000)
    pyro.set_rng_seed(0)
    means: list[Tensor] = []
    for _ in range(3):  # the prior of the coins is their posterior, which chains leave if they are mixed up
        means = []
        for kwargs in batches:
            scheme.loss(model, None, **kwargs)
            start = draw_from_prior(model, 2000, (), kwargs)
            states = {name: torch.full((2000, 1, start.log_joint.shape[-1]), -1.0) for name in "ab"}
            (chains,) = scheme._memory.of(model, None).values()
            means.append(chains.recall(keys_of(start, (), kwargs), states)["a"].mean((0, 1)))
    exact = torch.sigmoid(DRIFT)
    z = (torch.cat(means) - exact) / (exact * (1 - exact) / 2000).sqrt()
    assert float(z.abs().max()) < 4.8


# --- how many, and for how long -----------------------------------------------------------------------------------


def test_of_more_data_than_it_keeps_those_used_longest_ago_begin_anew_with_a_warning() -> None:
    chains = KeptStates("Gibbs")
    ones = {"h": torch.ones(1, 1, 2)}
    chains.remember(torch.tensor([1, 2]), ones, 3)
    chains.remember(torch.tensor([3]), {"h": torch.ones(1, 1, 1)}, 3)
    chains.remember(torch.tensor([1]), {"h": torch.ones(1, 1, 1)}, 3)
    with pytest.warns(
        RuntimeWarning, match="keeps the states of 3 data and has dropped those that were used longest ago"
    ):
        chains.remember(torch.tensor([4]), {"h": torch.ones(1, 1, 1)}, 3)
    fresh = {"h": torch.zeros(1, 1, 4)}
    assert chains.recall(torch.tensor([1, 2, 3, 4]), fresh)["h"].flatten().tolist() == [1, 0, 1, 1]


def test_more_data_at_once_than_it_keeps_are_refused() -> None:
    with pytest.raises(ValueError, match="keeps the states of 2 data, but was given 3 at once; raise max_data"):
        Gibbs(max_data=2).loss(tiny_machine("sigmoid").model, None, **KWARGS)
