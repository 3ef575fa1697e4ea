"""Pyro's own pieces beside ours: where Pyro is right we agree, where it is not a test shows both numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceTMC_ELBO, config_enumerate
from pyro.infer.importance import Importance, vectorized_importance_weights
from torch import Tensor

import pyro_helm as helm
from pyro_helm.programs.particles import Program, draw_from_guide
from pyro_helm.schemes import NVIL, VIMCO, Reinforce, ReweightedWakeSleep, WakeSleep
from tests.checker import (
    DATA,
    Z_THRESHOLD,
    exact_gradient,
    named_gradients,
    replicates,
    tiny_machine,
    worst_z,
    z_scores,
)
from tests.oracle import binary_rows

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


def test_pyros_tensor_monte_carlo_bound_gives_a_discrete_guide_no_gradient() -> None:
    logits = torch.zeros(1, requires_grad=True)

    def model() -> None:
        with pyro.plate("data", 1, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.tensor([0.3])))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * h), obs=torch.ones(1))

    def guide() -> None:
        with pyro.plate("data", 1, dim=-1):
            pyro.sample("h", dist.Bernoulli(logits=logits))

    pyro.set_rng_seed(0)
    sampled = config_enumerate(guide, "parallel", num_samples=5)
    TraceTMC_ELBO(max_plate_nesting=1).loss_and_grads(model, sampled)
    pyros = 0.0 if logits.grad is None else float(logits.grad)
    (ours,) = torch.autograd.grad(VIMCO(5).differentiable_loss(model, guide), [logits])
    assert pyros == 0
    assert float(ours) != 0


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


def test_pyros_importance_sampling_weighs_the_whole_batch_and_ours_each_datum() -> None:
    """Of 60 data and 1000 samples, Pyro's estimates miss by nats where ours is right to a fraction of one."""
    machine = tiny_machine("sigmoid")
    data = DATA.repeat(20, 1)
    evidence = float(machine.log_evidence(data).sum().detach())
    scores = helm.log_likelihood(machine.model, machine.guide, data, method="importance", num_samples=1000, seed=0)
    assert abs(scores.table.log_likelihood.sum() - evidence) < 0.5
    arguments = {"observations": {"x": data}}
    pyro.set_rng_seed(0)
    log_weight, _, _ = vectorized_importance_weights(
        machine.model, machine.guide, num_samples=1000, max_plate_nesting=2, **arguments
    )
    assert float(log_weight.detach().logsumexp(0) - torch.tensor(1000.0).log()) < evidence - 2
    posterior = Importance(machine.model, machine.guide, num_samples=300).run(**arguments)
    assert float(posterior.get_log_normalizer()) < evidence - 2
    assert float(posterior.get_ESS()) < 20


PRIOR = torch.tensor([0.5, -0.3, 0.1])
WEIGHT = torch.tensor([[1.5, -0.2, -2.2], [0.6, -1.1, -1.4], [0.4, 0.8, -0.7]])
X = torch.tensor([1.0, 0.0, 1.0])
LOGITS = torch.tensor([0.3, -0.5, 0.2])


def units_in_a_plate(logits: Tensor) -> tuple[Program, Program]:
    """A layer of three hidden and one of three visible units in one plate, ``[units, restarts, data]``."""

    def plates() -> tuple[pyro.plate, pyro.plate, pyro.plate]:
        return pyro.plate("units", 3, dim=-3), pyro.plate("restarts", len(logits), dim=-2), pyro.plate("data", 1)

    def model() -> None:
        units, restarts, data = plates()
        with units, restarts, data:
            h = pyro.sample("h", dist.Bernoulli(logits=PRIOR[:, None, None]))
            drive = (h.movedim(-3, -1) @ WEIGHT).movedim(-1, -3)
            pyro.sample("x", dist.Bernoulli(logits=drive), obs=X[:, None, None])

    def guide() -> None:
        units, restarts, data = plates()
        with units, restarts, data:
            pyro.sample("h", dist.Bernoulli(logits=logits.mT[:, :, None]))

    return model, guide


def units_as_events(logits: Tensor) -> tuple[Program, Program]:
    """The same two layers with their units as events, ``[restarts, data, units]``."""

    def plates() -> tuple[pyro.plate, pyro.plate]:
        return pyro.plate("restarts", len(logits), dim=-2), pyro.plate("data", 1)

    def model() -> None:
        restarts, data = plates()
        with restarts, data:
            h = pyro.sample("h", dist.Bernoulli(logits=PRIOR).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=h @ WEIGHT).to_event(1), obs=X)

    def guide() -> None:
        restarts, data = plates()
        with restarts, data:
            pyro.sample("h", dist.Bernoulli(logits=logits[:, None]).to_event(1))

    return model, guide


def free_energy_gradient() -> Tensor:
    """Of the guide's logits, by enumeration."""
    logits, h = LOGITS.clone().requires_grad_(), binary_rows(3).float()
    log_q = dist.Bernoulli(logits=logits).log_prob(h).sum(-1)
    log_p = dist.Bernoulli(logits=PRIOR).log_prob(h).sum(-1) + dist.Bernoulli(logits=h @ WEIGHT).log_prob(X).sum(-1)
    return torch.autograd.grad(-(log_q.exp() * (log_p - log_q)).sum(), logits)[0]


def test_units_in_a_plate_bias_pyros_graph_estimator_and_we_refuse_them() -> None:
    """A plate says that its rows don't depend on one another, but each visible unit depends on all hidden ones."""

    def z(loss: pyro.infer.ELBO, programs: Callable[[Tensor], tuple[Program, Program]]) -> float:
        logits = LOGITS.repeat(REPLICATES, 1).requires_grad_()
        pyro.set_rng_seed(0)
        loss.loss_and_grads(*programs(logits))
        assert logits.grad is not None
        return float(z_scores(logits.grad, free_energy_gradient()).abs().max())

    assert z(TraceGraph_ELBO(), units_in_a_plate) > 20
    assert z(TraceGraph_ELBO(), units_as_events) < Z_THRESHOLD
    assert z(Reinforce(1), units_as_events) < Z_THRESHOLD
    with pytest.raises(ValueError, match=r"plate 'units' with dim=-3; .* declare other dimensions as events"):
        z(Reinforce(1), units_in_a_plate)


@pytest.mark.parametrize("visible", ["in plate 'pixels'", "in no plate there"])
def test_units_in_the_place_of_restarts_are_refused(visible: str) -> None:
    """With data at dim=-1, units at dim=-2 would each be weighed as a machine by itself."""

    def model() -> None:
        units, pixels = pyro.plate("units", 3, dim=-2), pyro.plate("pixels", 3, dim=-2)
        with pyro.plate("data", 1, dim=-1):
            with units:
                h = pyro.sample("h", dist.Bernoulli(logits=PRIOR[:, None]))
            drive = h.movedim(-2, -1) @ WEIGHT
            if visible == "in no plate there":
                pyro.sample("x", dist.Bernoulli(logits=drive[..., None, :, :]).to_event(1), obs=X)
            else:
                with pixels:
                    pyro.sample("x", dist.Bernoulli(logits=drive.movedim(-1, -2)), obs=X[:, None])

    def guide() -> None:
        with pyro.plate("units", 3, dim=-2), pyro.plate("data", 1, dim=-1):
            pyro.sample("h", dist.Bernoulli(logits=LOGITS[:, None]))

    with pytest.raises(ValueError, match=f"site 'h' is in plate 'units' at dim=-2 and site 'x' {visible}"):
        VIMCO(2).loss(model, guide)


class Baselined:
    """A coin behind each datum, whose guide asks Pyro for its running baseline."""

    def __init__(self) -> None:
        pyro.clear_param_store()

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            h = pyro.sample("h", dist.Bernoulli(torch.full((2,), 0.3)).to_event(1))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * h).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        logits = pyro.param("logits", torch.zeros(2))
        with pyro.plate("data", len(x)):
            pyro.sample(
                "h",
                dist.Bernoulli(logits=logits + x).to_event(1),
                infer={"baseline": {"use_decaying_avg_baseline": True}},
            )


def test_pyros_running_baseline_leaks_an_optimiser_a_step_and_ours_does_not() -> None:
    x = torch.ones(6, 2)
    held = {}
    for loss in (TraceGraph_ELBO(), NVIL()):
        programs, optim = Baselined(), pyro.optim.Adam({"lr": 0.01})
        svi = SVI(programs.model, programs.guide, optim, loss=loss)
        for _ in range(20):
            svi.step(x)
        held[type(loss).__name__] = len(optim.optim_objs)
    assert held == {"TraceGraph_ELBO": 21, "NVIL": 1}


def test_pyros_running_baseline_breaks_at_a_smaller_last_minibatch_and_ours_does_not() -> None:
    x = torch.ones(14, 2)
    programs = Baselined()
    svi = SVI(programs.model, programs.guide, pyro.optim.Adam({"lr": 0.01}), loss=TraceGraph_ELBO())
    svi.step(x[:6])
    with pytest.raises(RuntimeError, match="must match the size"):
        svi.step(x[12:])
    programs = Baselined()
    svi = SVI(programs.model, programs.guide, pyro.optim.Adam({"lr": 0.05}), loss=NVIL())
    pyro.set_rng_seed(0)
    losses = [sum(svi.step(rows) for rows in x.split(6)) for _ in range(100)]
    assert sum(losses[-20:]) < sum(losses[:20])
    pyro.clear_param_store()


@pytest.mark.parametrize(
    ("pyros", "ours"),
    [
        (TraceGraph_ELBO(), Reinforce(2)),
        (TraceGraph_ELBO(), NVIL()),
        (RenyiELBO(alpha=0, num_particles=2, **VECTORISED), VIMCO(2)),
        (pyro.infer.ReweightedWakeSleep(num_particles=2, **VECTORISED), ReweightedWakeSleep(2)),
    ],
)
def test_ours_train_with_torchs_optimisers_where_pyros_have_no_differentiable_loss(
    pyros: pyro.infer.ELBO, ours: pyro.infer.ELBO
) -> None:
    machine = tiny_machine("sigmoid")
    parameters = [*machine.model.parameters(), *machine.guide.parameters()]
    with pytest.raises(AttributeError, match="differentiable_loss"):
        pyros(machine.model, machine.guide)(observations={"x": DATA})
    before = [parameter.detach().clone() for parameter in parameters]
    optim = torch.optim.Adam(parameters, lr=0.01)
    ours(machine.model, machine.guide)(observations={"x": DATA}).backward()
    optim.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, parameters, strict=True))
