"""Memoised wake-sleep: the memory holds the best distinct states that were ever proposed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import MemoisedWakeSleep
from pyro_helm.schemes.memoised_wake_sleep import distinct_log_joint
from tests.checker import DATA, Z_THRESHOLD, named_gradients, replicates, tiny_machine

RESTARTS = 2000


def remembered(scheme: MemoisedWakeSleep, model: BeliefNetwork) -> Tensor:
    """Index among the 16 joint states of each state in the memory of each datum, ``[data, states, restarts]``."""
    (kept,) = scheme._memory.of(model, None).values()
    state = torch.cat([kept.states["h1"], kept.states["h2"]], -1).double()
    return (state @ torch.tensor([8.0, 4, 2, 1]).double()).long()


def test_the_memory_is_the_best_of_all_draws_so_far_and_ends_with_the_most_probable_states() -> None:
    """After n steps of K draws, the best state is the best of n K draws: by enumeration of the guide."""
    machine, scheme, steps = tiny_machine("sigmoid"), MemoisedWakeSleep(2, memory_size=3), 3
    model, guide = replicates(machine, RESTARTS)
    x = DATA[:1]
    log_p, q = machine.log_joint(x)[0].detach(), machine.log_guide(x)[0].detach().exp()
    order = log_p.argsort()
    below = q[order].cumsum(0)
    exact = torch.zeros(16).double()
    exact[order] = below ** (2 * steps) - (below - q[order]) ** (2 * steps)
    pyro.set_rng_seed(0)
    with torch.no_grad():
        for _ in range(steps):
            scheme.restart_losses(model, guide, observations={"x": x})
        best = remembered(scheme, model)[0].reshape(-1, RESTARTS)
        best = best.gather(0, log_p[best].argmax(0, keepdim=True))[0]
        share = torch.nn.functional.one_hot(best, 16).double().mean(0)
        spread = (exact * (1 - exact) / RESTARTS).sqrt() + 1e-10
        assert float(((share - exact) / spread).abs().max()) < Z_THRESHOLD
        for _ in range(60):
            losses = scheme.restart_losses(model, guide, observations={"x": x})
    top = log_p.topk(3)
    finished = (remembered(scheme, model)[0].sort(0).values == top.indices.sort().values[:, None]).all(0)
    never_proposed = (1 - q[top.indices]) ** (2 * (steps + 60))
    assert float(finished.double().mean()) > 1 - float(never_proposed.sum()) - 0.05
    torch.testing.assert_close(-losses[finished], top.values.logsumexp(0).expand(int(finished.sum())))


def test_the_bound_never_falls_while_the_parameters_stay() -> None:
    machine, scheme = tiny_machine("noisy_or"), MemoisedWakeSleep(1, memory_size=4)
    pyro.set_rng_seed(0)
    losses = [scheme.loss(machine.model, machine.guide, observations={"x": DATA}) for _ in range(20)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < losses[0] - 1
    assert -losses[-1] < float(machine.log_evidence(DATA).sum().detach())


def test_a_memory_of_all_states_is_exact_em() -> None:
    machine, scheme = tiny_machine("odds"), MemoisedWakeSleep(400, memory_size=16)
    pyro.set_rng_seed(0)
    for _ in range(3):
        machine.model.zero_grad()
        loss = scheme.differentiable_loss(machine.model, machine.guide, observations={"x": DATA})
        loss.backward()
    evidence = machine.log_evidence(DATA).sum()
    assert float(loss.detach()) == pytest.approx(-float(evidence.detach()), rel=1e-12)
    found = named_gradients(machine.model, machine.guide)
    for name, parameter in machine.model.named_parameters():
        expected = torch.autograd.grad(-evidence, parameter, retain_graph=True)[0]
        torch.testing.assert_close(found[f"model.{name}"], expected)


def test_a_state_counts_once() -> None:
    log_joint = torch.tensor([-1.0, -1.0, -2.0, -1.0])[:, None, None]
    states = torch.tensor([7, 7, 3, 5])[:, None, None]
    assert distinct_log_joint(log_joint, states).flatten().tolist() == [-1.0, -torch.inf, -2.0, -1.0]


@pytest.mark.parametrize("one_hot", [False, True])
def test_categorical_and_one_hot_sites_are_remembered(one_hot: bool) -> None:
    kind = dist.OneHotCategorical if one_hot else dist.Categorical
    probs = torch.tensor([0.2, 0.3, 0.5])

    def guide(observations: Mapping[str, Tensor]) -> None:
        with pyro.plate("data", 4, dim=-1):
            pyro.sample("z", kind(torch.ones(3) / 3))

    def model(observations: Mapping[str, Tensor]) -> None:
        with pyro.plate("data", 4, dim=-1):
            z = pyro.sample("z", kind(probs))
            on = z[..., 2] if one_hot else (z == 2).float()
            pyro.sample("x", dist.Bernoulli(0.25 + 0.5 * on), obs=observations["x"])

    pyro.set_rng_seed(0)
    loss = MemoisedWakeSleep(100, memory_size=3).loss(model, guide, observations={"x": torch.ones(4)})
    assert loss == pytest.approx(-4 * float(torch.tensor(0.5).log()), rel=1e-5)


def test_what_can_not_be_remembered_is_refused_by_name() -> None:
    def guide(observations: Mapping[str, Tensor]) -> None:
        with pyro.plate("data", 3, dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def model(observations: Mapping[str, Tensor]) -> None:
        with pyro.plate("data", 3, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=observations["x"][:, 0])

    with pytest.raises(TypeError, match=r"MemoisedWakeSleep keeps states of Bernoulli, .* but site 'z' is a Normal"):
        MemoisedWakeSleep().loss(model, guide, observations={"x": DATA})


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="memory_size must be at least 1, got 0"):
        MemoisedWakeSleep(memory_size=0)
    with pytest.raises(ValueError, match=r"replay must be between 0 .dreams alone. and 1"):
        MemoisedWakeSleep(replay=1.5)
