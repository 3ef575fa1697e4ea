"""Which terms of the bound a site is judged by: by the structure of the library's own pair, and else by all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.nn import PyroModule, PyroSample
from torch import Tensor

from pyro_helm.guides import FactorialRecognition
from pyro_helm.layers import Sigmoid
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.pair import Programs
from pyro_helm.programs.particles import Particles, Program, draw_from_guide
from pyro_helm.schemes import Reinforce
from pyro_helm.schemes.learning_signals import Dependencies, dependencies, signals
from tests.checker import DATA, tiny_machine

Observations = Mapping[str, Tensor]
X = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


def drawn(model: Program, guide: Program, x: Tensor = X, number: int = 2) -> tuple[Particles, Dependencies]:
    particles = draw_from_guide(model, guide, number, kwargs={"observations": {"x": x}}, shared=True)
    return particles, dependencies(particles, Programs(model, guide))


def pair() -> tuple[BeliefNetwork, FactorialRecognition]:
    return BeliefNetwork((3, 2, 2, 1), seed=0), FactorialRecognition((3, 2, 2, 1), seed=0)


def test_of_the_librarys_own_pair_each_layer_depends_on_the_next() -> None:
    _, known = drawn(*pair())
    assert known.declared
    assert known.model == {"x": {"h1"}, "h1": {"h2"}, "h2": {"h3"}, "h3": set()}
    assert known.guide == {"h1": set(), "h2": {"h1"}, "h3": {"h2"}}


def test_an_upper_layer_does_not_answer_for_the_data() -> None:
    machine = tiny_machine("odds")
    particles, known = drawn(machine.model, machine.guide, DATA)
    p, q = particles.log_p, particles.log_q
    judged = signals(particles, known)
    assert torch.allclose(judged["h1"], particles.log_weight)
    assert torch.allclose(judged["h2"], p["h2"] + p["h1"] - q["h2"])
    assert not judged["h1"].requires_grad


def test_only_the_sites_asked_for_are_judged() -> None:
    particles, known = drawn(*pair())
    assert list(signals(particles, known, "h2")) == ["h2"]


# --- whatever else a program may be -------------------------------------------------------------------------------


class Subclass(BeliefNetwork):
    """Might override anything."""


class OwnLayer(Sigmoid):
    """Likewise."""


def subclass() -> tuple[Program, Program]:
    return Subclass((3, 2, 2, 1), seed=0), pair()[1]


def wrapped() -> tuple[Program, Program]:
    model, guide = pair()
    return poutine.scale(model, 2.0), poutine.scale(guide, 2.0)


def method_of_its_own() -> tuple[Program, Program]:
    model, guide = pair()
    model.__dict__["forward"] = lambda observations: BeliefNetwork.forward(model, observations)
    return model, guide


def layer_of_its_own() -> tuple[Program, Program]:
    model, guide = pair()
    model.generative[0].__class__ = OwnLayer
    return model, guide


def hooked() -> tuple[Program, Program]:
    model, guide = pair()
    model.register_forward_pre_hook(lambda module, args: None)
    return model, guide


def own_guide() -> tuple[Program, Program]:
    model, guide = pair()
    return model, lambda observations: guide(observations)


def weights_with_a_prior() -> tuple[Program, Program]:
    model, guide = pair()
    layer = model.generative[-1]
    prior = dist.Normal(torch.zeros(1, 1, 1), 1.0).to_event(3)
    PyroModule.__setattr__(layer, "learned_leak", PyroSample(prior))

    def its_guide(observations: Observations) -> None:
        pyro.sample("generative.3.learned_leak", prior)
        guide(observations)

    return model, its_guide


@pytest.mark.parametrize(
    "programs", [subclass, wrapped, method_of_its_own, layer_of_its_own, hooked, own_guide, weights_with_a_prior]
)
def test_any_other_pair_is_judged_by_all_terms(programs: Callable[[], tuple[Program, Program]]) -> None:
    particles, known = drawn(*programs(), number=1)
    assert not known.declared
    judged = signals(particles, known)
    for site in ("h1", "h2", "h3"):
        expected = particles.scale * particles.log_weight
        assert torch.allclose(judged[site], expected), site


def test_on_a_weight_that_is_a_site_all_depend() -> None:
    """Though it is given, and model and guide are the library's own."""
    model, guide = pair()
    prior = dist.Normal(torch.zeros(1, 1, 1), 1.0).to_event(3)
    PyroModule.__setattr__(model.generative[-1], "learned_leak", PyroSample(prior))
    with poutine.condition(data={"generative.3.learned_leak": torch.ones(1, 1, 1)}):
        particles, known = drawn(model, guide, number=1)
    assert not known.declared
    total = particles.log_weight.detach()
    assert all(torch.allclose(signal, total) for signal in signals(particles, known).values())


def test_a_draw_can_influence_later_ones_but_none_before_it() -> None:
    _, known = drawn(*own_guide())
    assert known.influenced_by("h1") == {"h1", "h2", "h3"}
    assert known.influenced_by("h2") == {"h2", "h3"}
    assert known.drawn_from("h2") == ["h1"]
    chain = Dependencies({}, {"a": frozenset(), "b": frozenset({"a"}), "c": frozenset({"b"}), "d": frozenset()})
    assert chain.influenced_by("a") == {"a", "b", "c"}
    assert chain.influenced_by("d") == {"d"}


def test_nothing_is_run_again_to_know_this() -> None:
    runs = []
    model, guide = pair()

    def counted(observations: Observations) -> None:
        runs.append(1)
        guide(observations)

    for _ in range(3):
        Reinforce(2).loss(model, counted, observations={"x": X})
    assert len(runs) == 3


# --- sites that all data share ------------------------------------------------------------------------------------


def shared_model(rows: int) -> Callable[..., None]:
    def model(observations: Observations) -> None:
        rate = pyro.sample("rate", dist.Bernoulli(0.5))
        with pyro.plate("data", 6, subsample_size=rows, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(0.2 + 0.5 * rate))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * h), obs=torch.ones(rows))

    return model


@pytest.mark.parametrize("rows", [3, 6])
def test_a_shared_site_is_judged_by_all_data_and_a_local_one_after_it_by_its_own(rows: int) -> None:
    def guide(observations: Observations) -> None:
        pyro.sample("rate", dist.Bernoulli(0.3))
        with pyro.plate("data", 6, subsample_size=rows, dim=-1):
            pyro.sample("h", dist.Bernoulli(torch.full((rows,), 0.6)))

    particles, known = drawn(shared_model(rows), guide)
    judged = signals(particles, known)
    p, q, scale = particles.log_p, particles.log_q, 6 / rows
    of_data = scale * (p["h"] + p["x"] - q["h"])
    assert particles.shared == {"rate"}
    assert judged["rate"].shape == (2, 1, 1)
    assert torch.allclose(judged["rate"], p["rate"] - q["rate"] + of_data.sum(-1, keepdim=True))
    assert torch.allclose(judged["h"], p["rate"] - q["rate"] + of_data)


def test_a_draw_that_a_shared_one_is_made_from_is_judged_by_all_data() -> None:
    """Through it, it reaches the others' terms."""

    def guide(observations: Observations) -> None:
        with pyro.plate("data", 6, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.full((6,), 0.6)))
        pyro.sample("rate", dist.Bernoulli(0.2 + 0.6 * h.mean(-1, keepdim=True)))

    particles, known = drawn(shared_model(6), guide)
    p, q = particles.log_p, particles.log_q
    everything = (p["h"] + p["x"] - q["h"]).sum(-1, keepdim=True) + p["rate"] - q["rate"]
    assert torch.allclose(signals(particles, known)["h"], everything.expand(2, 1, 6), atol=1e-5)


def test_a_draw_that_one_outside_the_restarts_is_made_from_is_judged_by_all_of_them() -> None:
    def model(observations: Observations) -> None:
        with pyro.plate("data", 4, dim=-1):
            g = pyro.sample("g", dist.Bernoulli(0.5))
            with pyro.plate("rows", 3, dim=-2):
                pyro.sample("h", dist.Bernoulli(0.2 + 0.5 * g))
            pyro.sample("x", dist.Bernoulli(0.2 + 0.5 * g), obs=torch.ones(4))

    def guide(observations: Observations) -> None:
        with pyro.plate("data", 4, dim=-1):
            with pyro.plate("rows", 3, dim=-2):
                h = pyro.sample("h", dist.Bernoulli(torch.full((3, 4), 0.6)))
            pyro.sample("g", dist.Bernoulli(0.2 + 0.6 * h.mean(-2, keepdim=True)))

    particles, known = drawn(model, guide)
    p, q = particles.log_p, particles.log_q
    everything = (p["h"] - q["h"]).sum(-2, keepdim=True) + p["g"] - q["g"] + p["x"]
    assert torch.allclose(signals(particles, known)["h"], everything, atol=1e-5)


# --- tensors that a site is scored by ------------------------------------------------------------------------------


def overwritten(what: str) -> Callable[..., Any]:
    def guide(observations: Observations) -> None:
        logits, mask = torch.zeros(2, 3), torch.ones(2, dtype=torch.bool)
        with pyro.plate("data", 2, dim=-1), poutine.mask(mask=mask):
            h = pyro.sample("h", dist.Bernoulli(logits=logits).to_event(1))
        written = {"value": h, "distribution": logits, "mask": mask}[what]
        written.zero_()

    return guide


@pytest.mark.parametrize("what", ["value", "distribution", "mask"])
def test_what_a_site_is_scored_by_may_not_be_written_to_afterwards(what: str) -> None:
    def model(observations: Observations) -> None:
        with pyro.plate("data", 2, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.full((3,), 0.5)).to_event(1))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * h).to_event(1), obs=observations["x"])

    with pytest.raises(ValueError, match=rf"the {what} of site 'h' was changed in place after pyro\.sample"):
        Reinforce(2).loss(model, overwritten(what), observations={"x": X})
