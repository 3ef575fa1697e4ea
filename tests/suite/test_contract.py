"""What every model and guide of the suite shares; a new one is one line in members.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

import pyro_helm as helm
from pyro_helm.programs.particles import draw_from_guide, score
from tests.checker import Z_THRESHOLD, z_scores
from tests.claims import LEFT_OUT, estimates
from tests.suite.enumeration import (
    every_x,
    hidden_states,
    latent_names,
    log_guide,
    log_joint,
    log_prior,
    visible_means,
)
from tests.suite.members import (
    MODELS,
    WITH_SEQUENCES,
    can_be_listed,
    every_model,
    every_pair,
    every_pair_with_sequences,
    far_from_the_start,
    learns_alone,
    machine,
    observed,
    restart_of,
)

CAPTURED = helm.VIMCO(2)


@every_pair
def test_sites_score_as_the_equations(pair: str) -> None:
    model, guide, observations = machine(pair)
    states = hidden_states(model)
    values = {name: layer[:, None, None] for name, layer in zip(latent_names(model), states, strict=True)}
    for program, expected in ((model, log_joint), (guide, log_guide)):
        found = score(program, values, kwargs={"observations": observations}).log_joint[:, 0]
        assert torch.allclose(found.T.clamp(min=LEFT_OUT), expected(program, observations), rtol=1e-9, atol=1e-12)


@every_model
def test_dreams_follow_the_model(name: str) -> None:
    """Hidden states by their frequencies, and the visible layer too, where its rows can be listed."""
    model, number = far_from_the_start(MODELS[name]()), 20_000
    pyro.set_rng_seed(0)
    given = {} if model.condition is None or hasattr(model, "labels") else {"label": torch.ones(number)}
    trace = poutine.trace(model).get_trace(given, num_data=number)
    x = trace.nodes["x"]["value"].detach()
    hidden = torch.cat([trace.nodes[name]["value"] for name in latent_names(model)], -1)
    check_frequencies(hidden, torch.cat(hidden_states(model), -1), log_prior(model, label=1).exp())
    if can_be_listed(model):
        rows = every_x(model)
        observations = {name: label[: len(rows)].long() for name, label in given.items()} | {"x": rows}
        check_frequencies(x, rows, log_joint(model, observations).exp().sum(-1))
    else:
        mean = (log_prior(model).exp() @ visible_means(model)).detach()
        assert float(z_scores(x, mean).abs().max()) < Z_THRESHOLD


def check_frequencies(drawn: Tensor, rows: Tensor, chances: Tensor) -> None:
    is_row = (drawn[:, None] == rows).all(-1).double()
    assert bool((is_row.sum(-1) == 1).all())
    assert float(z_scores(is_row, chances.detach()).abs().max()) < Z_THRESHOLD


@every_pair_with_sequences
@pytest.mark.parametrize("restarts", [1, 3])
def test_shapes_are_particles_restarts_data(pair: str, restarts: int) -> None:
    make_model, make_guide = WITH_SEQUENCES[pair]
    model, guide = make_model(restarts), make_guide(make_model.sizes, restarts)
    observations = observed(model)
    per_restart = (3,) if restarts > 1 else ()
    assert observations["x"].shape == (*per_restart, *machine(pair)[2]["x"].shape)
    particles = draw_from_guide(model, guide, 4, kwargs={"observations": observations})
    assert particles.log_weight.shape == (4, restarts, 3)


@every_pair_with_sequences
def test_restarts_are_single_machines_side_by_side(pair: str) -> None:
    """Values and gradients, by a scheme that does not sample."""
    make_model, make_guide = WITH_SEQUENCES[pair]
    model = far_from_the_start(make_model(3))
    guide = far_from_the_start(make_guide(make_model.sizes, 3))
    observations = observed(machine(pair)[0])
    losses, gradients = estimates(helm.ExactEM(), model, guide, observations)
    for number in range(3):
        one = restart_of(model, make_model(), number), restart_of(guide, make_guide(make_model.sizes), number)
        (loss,), expected = estimates(helm.ExactEM(), *one, observations)
        assert float(losses[number]) == pytest.approx(float(loss), rel=1e-9)
        for name, gradient in expected.items():
            assert torch.allclose(gradients[name][number], gradient[0], rtol=1e-8, atol=1e-10), name


@every_pair_with_sequences
def test_captured_steps_are_the_eager_ones(pair: str) -> None:
    make_model, make_guide = WITH_SEQUENCES[pair]
    data = observed(make_model(), 12)
    trained = []
    for step in ("eager", "captured"):
        model, guide = make_model(2), make_guide(make_model.sizes, 2)
        helm.fit(model, guide, data, scheme=CAPTURED, num_epochs=5, batch_size=None, step=step, seed=0, progress=False)
        trained.append([*model.parameters(), *guide.parameters()])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*trained, strict=True))


@every_pair_with_sequences
def test_files_hold_all_of_a_machine(pair: str, tmp_path: Path) -> None:
    model, guide, observations = machine(pair)
    helm.save(tmp_path, model, guide)
    loaded = helm.load(tmp_path, guide=None if learns_alone(guide) else WITH_SEQUENCES[pair][1](model.sizes).double())
    for ours, theirs in zip((model, guide), loaded, strict=True):
        assert ours.config == theirs.config
        assert type(ours) is type(theirs)
    again, before = (helm.exact_posterior(*each, observations) for each in (loaded, (model, guide)))
    assert torch.equal(again.log_likelihood, before.log_likelihood)
    assert torch.equal(draws(*loaded, observations), draws(model, guide, observations))


def draws(model: Any, guide: Any, observations: dict[str, Tensor]) -> Tensor:
    pyro.set_rng_seed(0)
    return draw_from_guide(model, guide, 2, kwargs={"observations": observations}).log_weight.detach()
