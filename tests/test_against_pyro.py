"""Pyro's own pieces beside ours: where Pyro is right we agree, where it is not a test shows both numbers."""

from __future__ import annotations

import copy

import pyro
import pyro.infer
import pytest
import torch
from gradients import DATA, Z_THRESHOLD, exact_gradient, named_gradients, replicates, tiny_machine, worst_z
from pyro.infer import RenyiELBO, Trace_ELBO
from torch import Tensor

from pyro_helm.particles import draw_from_guide
from pyro_helm.schemes import Reinforce, ReweightedWakeSleep, WakeSleep

REPLICATES = 20_000
VECTORISED = {"vectorize_particles": True, "max_plate_nesting": 2}


def gradients(loss: pyro.infer.ELBO, method: str = "differentiable_loss") -> dict[str, Tensor]:
    model, guide = replicates(tiny_machine("sigmoid"), REPLICATES)
    pyro.set_rng_seed(0)
    if method == "differentiable_loss":
        loss.differentiable_loss(model, guide, observations={"x": DATA}).backward()
    else:
        loss.loss_and_grads(model, guide, observations={"x": DATA})
    return named_gradients(model, guide)


def test_trace_elbo_and_reinforce_follow_the_same_gradient() -> None:
    machine = tiny_machine("sigmoid")
    exact = exact_gradient(machine, -machine.elbo(DATA).sum())
    pyros = gradients(Trace_ELBO(num_particles=2, **VECTORISED))
    ours = gradients(Reinforce(2))
    assert max(worst_z(pyros, exact).values()) < Z_THRESHOLD
    assert max(worst_z(ours, exact).values()) < Z_THRESHOLD
    spread = {name: float(ours[name].std() / pyros[name].std()) for name in exact if name.startswith("guide")}
    assert max(spread.values()) < 1  # Pyro judges each particle by itself, we by the mean of the others


def test_pyros_importance_weighted_bound_gives_a_discrete_guide_no_gradient() -> None:
    pyros = gradients(RenyiELBO(alpha=0, num_particles=2, **VECTORISED), "loss_and_grads")
    ours = gradients(ReweightedWakeSleep(2))
    for name in ours:
        if name.startswith("guide"):
            assert float(pyros[name].abs().max()) == 0
            assert float(ours[name].abs().max()) > 0


def test_pyro_weighs_the_whole_batch_and_we_each_datum() -> None:
    machine = tiny_machine("sigmoid")
    data = DATA.repeat(20, 1)
    pyro.set_rng_seed(0)
    log_weight = draw_from_guide(machine.model, machine.guide, 1000, kwargs={"observations": {"x": data}}).log_weight
    evidence = float(machine.log_evidence(data).sum().detach())
    pyro.set_rng_seed(0)
    ours = -ReweightedWakeSleep(1000).loss(machine.model, machine.guide, observations={"x": data})
    assert abs(ours - evidence) < 0.5
    # Pyro's class forms one weight per particle from the sum over the batch
    batch_weight = log_weight.sum(-1)[:, 0].detach()
    loss = pyro.infer.ReweightedWakeSleep(num_particles=1000, **VECTORISED)
    pyro.set_rng_seed(0)
    pyros = -loss.loss(copy.deepcopy(machine.model), copy.deepcopy(machine.guide), observations={"x": data})[0]
    assert pyros < evidence - 2
    ess = [float(1 / (w.softmax(0) ** 2).sum()) for w in (batch_weight, log_weight[:, 0, 0].detach())]
    assert ess[0] < 20 < 200 < ess[1]


def test_pyros_reweighted_wake_sleep_takes_no_single_particle_and_our_wake_sleep_does() -> None:
    with pytest.raises(AssertionError):
        pyro.infer.ReweightedWakeSleep(num_particles=1)
    assert WakeSleep(1).num_particles == 1


def test_a_subsampled_plate_scales_pyros_weights_and_only_our_total() -> None:
    """With x seen half at a time the bound must average to the whole data's."""
    x = torch.tensor([[1.0], [0.0], [1.0], [1.0]])

    def model(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 4, subsample_size=2, dim=-1) as rows:
            h = pyro.sample("h", pyro.distributions.Bernoulli(torch.tensor([0.3])).to_event(1))
            pyro.sample("x", pyro.distributions.Bernoulli(0.1 + 0.8 * h).to_event(1), obs=observations["x"][rows])

    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 4, subsample_size=2, dim=-1):
            pyro.sample("h", pyro.distributions.Bernoulli(torch.tensor([0.5])).to_event(1))

    on = 0.3 * 0.9 + 0.7 * 0.1
    evidence = 3 * torch.log(torch.tensor(on)) + torch.log(torch.tensor(1 - on))
    pyro.set_rng_seed(0)
    ours = torch.tensor([-ReweightedWakeSleep(500).loss(model, guide, {"x": x}) for _ in range(100)])
    pyros = torch.tensor(
        [-RenyiELBO(alpha=0, num_particles=500, **VECTORISED).loss(model, guide, {"x": x}) for _ in range(100)]
    )
    error = float(ours.std() / 10)
    assert abs(float(ours.mean() - evidence)) < 4 * error + 0.01  # z-threshold 4; the bound's own gap at 500 is 0.003
    assert abs(float(pyros.mean() - evidence)) > 10 * error
