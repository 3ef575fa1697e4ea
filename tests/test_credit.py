"""Local credit: what depends on what in two programs, and by which terms a site is judged."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from checker import DATA, tiny_machine
from torch import Tensor

from pyro_helm.credit import Dependencies, dependencies, signals
from pyro_helm.particles import Particles, draw_from_guide

Observations = Mapping[str, Tensor]
ARGUMENTS = {"observations": {"x": torch.tensor([[1.0], [0.0], [1.0]])}}


def model(observations: Observations) -> None:
    """A kind that chooses one of two causes; a third cause by itself."""
    x = observations["x"]
    with pyro.plate("data", len(x), dim=-1):
        kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.2, 0.8])))
        # through an index and a comparison, which carry no gradient
        cause = pyro.sample("cause", dist.Bernoulli(torch.tensor([0.3, 0.6])[kind]))
        other = pyro.sample("other", dist.Bernoulli(0.4))
        pyro.sample("y", dist.Bernoulli(torch.where(cause == 1, 0.9, 0.2)), obs=x[:, 0])
        pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * other[..., None]).to_event(1), obs=x)


def guide(observations: Observations) -> None:
    x = observations["x"][:, 0]
    with pyro.plate("data", len(x), dim=-1):
        cause = pyro.sample("cause", dist.Bernoulli(0.2 + 0.6 * x))
        pyro.sample("kind", dist.Categorical(torch.tensor([[0.7, 0.3], [0.1, 0.9]])[cause.long()]))
        pyro.sample("other", dist.Bernoulli(0.2 + 0.6 * x))


def drawn(num_particles: int = 4) -> tuple[Particles, Dependencies]:
    pyro.set_rng_seed(0)
    particles = draw_from_guide(model, guide, num_particles, kwargs=ARGUMENTS)
    return particles, dependencies(particles, model, guide, (), ARGUMENTS)


def test_dependencies_are_those_of_the_programs_also_where_no_gradient_passes() -> None:
    _, known = drawn()
    assert known.model == {
        "kind": frozenset(),
        "cause": frozenset({"kind"}),
        "other": frozenset(),
        "y": frozenset({"cause"}),
        "x": frozenset({"other"}),
    }
    assert known.guide == {"cause": frozenset(), "kind": frozenset({"cause"}), "other": frozenset()}


def test_influence_passes_on_through_the_guide() -> None:
    known = Dependencies({}, {"a": frozenset(), "b": frozenset({"a"}), "c": frozenset({"b"}), "d": frozenset()})
    assert known.influenced_by("a") == {"a", "b", "c"}
    assert known.influenced_by("b") == {"b", "c"}
    assert known.influenced_by("d") == {"d"}


def test_a_site_is_judged_by_the_terms_that_it_influences_and_no_others() -> None:
    particles, known = drawn()
    p, q = particles.log_p, particles.log_q
    judged = signals(particles, known)
    assert torch.allclose(judged["other"], p["other"] + p["x"] - q["other"])
    assert torch.allclose(judged["kind"], p["kind"] + p["cause"] - q["kind"])
    assert torch.allclose(judged["cause"], p["kind"] + p["cause"] + p["y"] - q["cause"] - q["kind"])


def test_of_a_layered_machine_an_upper_layer_does_not_answer_for_the_data() -> None:
    machine = tiny_machine("odds")
    kwargs = {"observations": {"x": DATA}}
    particles = draw_from_guide(machine.model, machine.guide, 2, kwargs=kwargs)
    known = dependencies(particles, machine.model, machine.guide, (), kwargs)
    p, q = particles.log_p, particles.log_q
    judged = signals(particles, known)
    assert torch.allclose(judged["h1"], particles.log_weight)
    assert torch.allclose(judged["h2"], p["h2"] + p["h1"] - q["h2"])
    assert not judged["h1"].requires_grad


def test_only_the_sites_asked_for_are_judged() -> None:
    particles, known = drawn()
    assert list(signals(particles, known, "kind")) == ["kind"]


def test_looking_leaves_the_random_numbers_alone() -> None:
    pyro.set_rng_seed(0)
    particles = draw_from_guide(model, guide, 2, kwargs=ARGUMENTS)
    expected = torch.rand(3)
    pyro.set_rng_seed(0)
    particles = draw_from_guide(model, guide, 2, kwargs=ARGUMENTS)
    dependencies(particles, model, lambda observations: guide(observations), (), ARGUMENTS)
    assert torch.equal(torch.rand(3), expected)


def test_the_programs_are_run_once_for_each_set_of_sites() -> None:
    runs = []

    def counted(observations: Observations) -> None:
        runs.append(1)
        guide(observations)

    for _ in range(3):
        particles = draw_from_guide(model, counted, 2, kwargs=ARGUMENTS)
        dependencies(particles, model, counted, (), ARGUMENTS)
    assert len(runs) == 3 + 1


def test_what_is_known_goes_with_the_programs() -> None:
    machine = tiny_machine("sigmoid")
    kwargs: dict[str, Any] = {"observations": {"x": DATA}}
    particles = draw_from_guide(machine.model, machine.guide, 1, kwargs=kwargs)
    dependencies(particles, machine.model, machine.guide, (), kwargs)
    gone = weakref.ref(machine.model)
    del machine, particles
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("rows", [3, 6])
def test_a_shared_site_is_judged_by_all_data_and_a_local_one_by_its_own(rows: int) -> None:
    def with_rate(observations: Observations) -> None:
        rate = pyro.sample("rate", dist.Bernoulli(0.5))
        with pyro.plate("data", 6, subsample_size=rows, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(0.2 + 0.5 * rate))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * h), obs=torch.ones(rows))

    def its_guide(observations: Observations) -> None:
        pyro.sample("rate", dist.Bernoulli(0.3))
        with pyro.plate("data", 6, subsample_size=rows, dim=-1):
            pyro.sample("h", dist.Bernoulli(torch.full((rows,), 0.6)))

    particles = draw_from_guide(with_rate, its_guide, 5, kwargs=ARGUMENTS, shared=True)
    judged = signals(particles, dependencies(particles, with_rate, its_guide, (), ARGUMENTS))
    p, q, scale = particles.log_p, particles.log_q, 6 / rows
    assert particles.shared == {"rate"}
    assert judged["rate"].shape == (5, 1, 1)
    expected = p["rate"] - q["rate"] + scale * p["h"].sum(-1, keepdim=True)
    # the guide's h does not depend on its rate, so that neither its own term nor the data's are the rate's doing
    assert torch.allclose(judged["rate"], expected)
    assert torch.allclose(judged["h"], scale * (p["h"] + p["x"] - q["h"]))
