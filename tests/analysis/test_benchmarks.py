"""The benchmarks run, and those who are compared do the same work. Nothing here depends on how long anything takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from analysis.benchmarks import hand_written_torch, lateral_blocks
from analysis.benchmarks import helm_machine as ours
from analysis.benchmarks.contenders import (
    EAGER,
    JAX,
    MATMULS,
    NUMPYRO_GRAPH,
    PYRO_GRAPH,
    PYRO_RWS,
    PYRO_TRACE,
    SCHEMES,
    TORCH,
    log_likelihood,
    start_of,
    table_of,
)
from analysis.benchmarks.goals import Goal, goals_of
from analysis.benchmarks.likelihood_times import products_of_exact, pyros_log_likelihood
from analysis.benchmarks.matmuls import products
from analysis.benchmarks.scaling import slopes
from analysis.benchmarks.setting import Setting, Weights, data, programs, programs_with, stepper, transposed, weights_of
from analysis.benchmarks.timing import take_turns
from pyro_helm.likelihoods.importance import importance_sampling
from tests.analysis.running import run_script_by_itself

GROUPS = ("training step", "schemes", "restarts", "scaling", "epoch", "likelihoods", "product over causes", "start-up")
SMALL = Setting("reweighted_wake_sleep", (5, 3, 2), 400, particles=4)
EVALUATIONS = 40
Z_THRESHOLD = 5


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_quick_run_measures_every_group_and_prints_the_goals(tmp_path: Path) -> None:
    shown = run_script_by_itself("analysis.benchmarks.benchmark", "--quick", "--out", tmp_path)
    assert "falls short" in shown or "fall short" in shown
    table = pd.read_parquet(tmp_path / "benchmarks.parquet")
    assert set(table.group) == set(GROUPS)
    times = table[["seconds", "q25", "q75"]]
    assert np.isfinite(times).all(axis=None)
    assert (times > 0).all(axis=None)
    assert (table.q25 <= table.seconds).all()
    assert (table.seconds <= table.q75).all()
    trained = table[(table.group == "training step") & (table.who != "matrix products alone")]
    # from the same weights, after as many steps
    assert (trained.groupby("scheme").log_likelihood.agg(np.ptp) < 0.5).all()
    assert len(pd.read_csv(tmp_path / "benchmarks.csv")) == len(table)
    for figure in ("steps", "scaling"):
        assert (tmp_path / f"{figure}.png").stat().st_size > 0


def gradients_of_ours(scheme: str, x: Tensor) -> Callable[[], Tensor]:
    model, guide = programs(SMALL)
    objective = helm.SCHEMES[scheme](num_particles=SMALL.particles)
    parameters = [
        *(layer.weight_unconstrained for layer in model.generative[:-1]),
        *(layer.learned_leak_unconstrained for layer in model.generative),
        *(layer.weight_unconstrained for layer in guide.recognition),
        *(layer.learned_leak_unconstrained for layer in guide.recognition),
    ]

    def evaluate() -> Tensor:
        loss = objective.restart_losses(model, guide, observations={"x": x}).sum() / len(x)
        return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, parameters)])

    return evaluate


def gradients_by_hand(scheme: str, x: Tensor) -> Callable[[], Tensor]:
    net = Weights(*([transposed(p).requires_grad_() for p in part] for part in weights_of(*programs(SMALL))))

    def evaluate() -> Tensor:
        loss = hand_written_torch.LOSSES[scheme](net, x, SMALL.particles)
        found = torch.autograd.grad(loss, [p for part in net for p in part])
        return torch.cat([transposed(gradient).flatten() for gradient in found])

    return evaluate


def sample_by_jax(scheme: str, x: Tensor) -> tuple[Tensor, Tensor]:
    jax = pytest.importorskip("jax")
    pytest.importorskip("optax")
    from analysis.benchmarks import hand_written_jax

    net, cases = hand_written_jax.to_jax(weights_of(*programs(SMALL))), jax.numpy.asarray(x.numpy())
    of_each_key = jax.vmap(jax.grad(hand_written_jax.LOSSES[scheme]), in_axes=(None, None, 0, None))
    gradient = jax.jit(of_each_key, static_argnums=3)
    keys = jax.random.split(jax.random.key(0), EVALUATIONS)
    found = hand_written_jax.to_torch(gradient(net, cases, keys, SMALL.particles))
    return mean_and_error(torch.cat([p.flatten(1) for part in found for p in part], dim=1))


def sample(evaluate: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    with pyro.validation_enabled(False):
        return mean_and_error(torch.stack([evaluate() for _ in range(EVALUATIONS)]))


def mean_and_error(found: Tensor) -> tuple[Tensor, Tensor]:
    return found.mean(0), found.std(0) / EVALUATIONS**0.5


def largest_z(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    spread = (first[1].square() + second[1].square()).sqrt().clamp(min=1e-7)
    return float(((first[0] - second[0]).abs() / spread).max())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_loss_by_hand_has_the_gradient_of_its_scheme(scheme: str) -> None:
    x = data(SMALL)[: SMALL.batch]
    ours, by_hand = sample(gradients_of_ours(scheme, x)), sample(gradients_by_hand(scheme, x))
    assert largest_z(ours, by_hand) < Z_THRESHOLD
    assert largest_z(ours, (torch.zeros_like(ours[0]), ours[1])) > 4 * Z_THRESHOLD  # there is a gradient to agree on


@pytest.mark.slow  # XLA compiles for seconds
@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "disarm"])
def test_a_loss_in_jax_has_the_gradient_of_its_scheme(scheme: str) -> None:
    x = data(SMALL)[: SMALL.batch]
    by_jax = sample_by_jax(scheme, x)
    assert largest_z(sample(gradients_of_ours(scheme, x)), by_jax) < Z_THRESHOLD


def test_gradients_of_different_schemes_are_told_apart() -> None:
    x = data(SMALL)[: SMALL.batch]
    first, *others = (
        sample(gradients_by_hand(scheme, x)) for scheme in ("reweighted_wake_sleep", "vimco", "wake_sleep")
    )
    for other in others:
        assert largest_z(first, other) > 2 * Z_THRESHOLD


@pytest.mark.parametrize("who", [PYRO_RWS, PYRO_GRAPH, PYRO_TRACE])
def test_estimators_of_pyro_train_the_machine(who: str) -> None:
    assert gain_of_training(who) > 1


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("who", [TORCH, EAGER, MATMULS])
def test_steps_are_taken_on_the_device_of_the_setting(who: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((torch.optim, "Adam"), (ours, "FUSED_ADAM")):  # which are not fused there
        monkeypatch.setattr(module, name, lambda parameters, **settings: torch.optim.SGD(parameters, lr=0.1))
    # where tensors have no values, and can't be mixed with others
    setting = Setting(scheme, (12, 6, 3), 50, device="meta")
    step = stepper(start_of(who)(setting), setting)
    with pyro.validation_enabled(False):
        step()


@pytest.mark.slow
@pytest.mark.parametrize("who", [JAX, NUMPYRO_GRAPH])
def test_peers_in_jax_train_the_machine(who: str) -> None:
    for package in ("jax", "optax", "numpyro"):
        pytest.importorskip(package)
    assert gain_of_training(who) > 1


def gain_of_training(who: str) -> float:
    """Nats per datum."""
    setting = Setting("reinforce", (12, 6, 3), 50)
    trainer = start_of(who)(setting)
    before = log_likelihood(trainer, setting)
    step = stepper(trainer, setting)
    with pyro.validation_enabled(False):
        for _ in range(60):
            step()
    return log_likelihood(trainer, setting) - before


def test_weights_are_copied_both_ways() -> None:
    model, guide = programs(SMALL)
    again = weights_of(*programs_with(weights_of(model, guide)))
    for part, values in zip(weights_of(model, guide), again, strict=True):
        assert all(torch.equal(value, copied) for value, copied in zip(part, values, strict=True))


def test_importance_weights_of_pyro_estimate_what_ours_do() -> None:
    model, guide = programs(SMALL)
    x = data(SMALL)[:4]
    torch.manual_seed(0)
    ours = importance_sampling(model, guide, x, num_samples=5000).log_likelihood[0].float()
    assert torch.allclose(pyros_log_likelihood(model, guide, x, 5000), ours, atol=0.1)


def test_products_of_a_step_are_those_of_its_layers() -> None:
    setting = Setting("reweighted_wake_sleep", (4, 3, 2), 10)
    forward = [(10, 4, 3), (50, 3, 2), (50, 3, 4), (50, 2, 3)]
    backward = [(4, 10, 3), (3, 50, 2), (3, 50, 4), (2, 50, 3)]
    assert products(setting) == forward + backward
    wake_sleep = products(Setting("wake_sleep", (4, 3, 2), 10))
    # recognised once, generated twice, of which one is learned from, dreams recognised
    assert wake_sleep.count((50, 3, 4)) == 2
    assert wake_sleep.count((3, 50, 4)) == 1
    assert wake_sleep.count((4, 50, 3)) == 1
    disarm = products(Setting("disarm", (4, 3, 2), 10))
    assert disarm[len(forward + backward) :] == [(50, 3, 2), (50, 3, 4), (50, 2, 3), (50, 2, 3)]


def test_products_of_an_exact_sum_are_those_of_all_states() -> None:
    assert products_of_exact((4, 3, 2), 10) == [(8, 3, 4), (10, 4, 8), (4, 2, 3), (2, 4, 4)]


def test_subjects_take_turns_in_blocks() -> None:
    calls: list[str] = []
    subjects = {name: (lambda name=name: lambda: calls.append(name)) for name in "ab"}
    timings = take_turns(subjects, seconds=0, rounds=3, block=4, uncounted=1, first_steps=2)
    assert "".join(calls) == "aabb" + "aaaabbbb" * 3
    assert set(timings) == {"a", "b"}


def test_a_slope_is_that_of_the_upper_half() -> None:
    rows = [
        {"group": "scaling", "net": "64-32-16", "who": "ours, eager", "varied": "batch", "batch": batch,
         "particles": 5, "restarts": 1, "seconds": max(1.0, batch / 64), "q25": 0.0, "q75": 0.0}
        for batch in (8, 16, 64, 128, 256)
    ]  # fmt: skip
    assert slopes(table_of(rows)).slope.item() == pytest.approx(1)


def test_goals_say_what_is_met_what_falls_short_and_what_was_not_measured() -> None:
    assert [Goal("", value, 0, 1).verdict for value in (0.5, 1.5, math.nan)] == ["met", "falls short", "not measured"]
    rows = [
        {"group": "training step", "net": "32-24-2", "scheme": "reweighted_wake_sleep", "who": who, "seconds": seconds}
        for who, seconds in (("ours, compiled", 2.0), ("hand-written JAX", 1.0))
    ]
    goals = goals_of(table_of(rows)).set_index("goal")
    assert goals.loc["32-24-2: compiled / JAX", "measured"] == 2
    assert goals.loc["32-24-2: compiled / JAX", "verdict"] == "falls short"
    assert goals.loc["64-32-16: compiled / JAX", "verdict"] == "not measured"


@pytest.mark.parametrize("where", lateral_blocks.WHERE)
def test_lateral_connections_are_where_the_benchmark_says(where: str, tmp_path: Path) -> None:
    machines = [lateral_blocks.machine(blocks, where) for blocks in (None, 4)]
    study = helm.Study(tmp_path, datasets=["digits"], machines=machines, schemes=["wake_sleep"])
    (_, plain_guide), (model, guide) = (run.build(64, seed=0, restarts=1) for run in study.plan)
    assert model.blocks == (4 if where != "guide" else None,) * 3
    assert (type(guide) is type(plain_guide)) == (where == "model")
