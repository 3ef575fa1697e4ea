"""NVIL: baselines learn by themselves, leave the mean as it is and lower the variance."""

from __future__ import annotations

import gc

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.particles import Program
from pyro_helm.schemes import NVIL, Reinforce
from tests.checker import DATA, Z_THRESHOLD, exact_gradient, named_gradients, replicates, tiny_machine, worst_z
from tests.oracle import Machine

KWARGS = {"observations": {"x": DATA}}
NUMBER = 10_000


def warmed_up(scheme: NVIL, machine: Machine, steps: int = 30) -> tuple[BeliefNetwork, FactorialRecognition]:
    """Replicates for which the baselines have learned."""
    model, guide = replicates(machine, NUMBER)
    pyro.set_rng_seed(1)
    for _ in range(steps):
        scheme.restart_losses(model, guide, **KWARGS)
    return model, guide


def gradients(scheme: NVIL | Reinforce, model: BeliefNetwork, guide: FactorialRecognition) -> dict[str, Tensor]:
    scheme.restart_losses(model, guide, **KWARGS).sum().backward()
    return named_gradients(model, guide)


def variance(found: dict[str, Tensor]) -> float:
    return sum(float(value.var(0).sum()) for name, value in found.items() if name.startswith("guide"))


def test_learned_baselines_leave_the_gradient_unbiased_and_lower_its_variance() -> None:
    scheme = NVIL(1, normalise=False, hidden_units=5, learning_rate=0.03)
    machine = tiny_machine("sigmoid")
    learned = gradients(scheme, *warmed_up(scheme, machine))
    for name, z in worst_z(learned, exact_gradient(machine, -machine.elbo(DATA).sum())).items():
        assert z < Z_THRESHOLD, f"{name} is {z:.1f} standard errors off"
    assert variance(learned) < 0.5 * variance(gradients(Reinforce(1), *replicates(machine, NUMBER)))


def test_a_layer_that_is_observed_is_what_the_one_above_is_judged_from() -> None:
    machine, scheme = tiny_machine("sigmoid"), NVIL(1, normalise=False, hidden_units=5, learning_rate=0.03)
    h1 = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(len(DATA), -1)
    observations = {"x": DATA, "h1": h1}
    model, guide = replicates(machine, NUMBER)
    pyro.set_rng_seed(1)
    for _ in range(10):
        scheme.restart_losses(model, guide, observations=observations)
    scheme.restart_losses(model, guide, observations=observations).sum().backward()
    # q(h2 | h1) is a line of the joint guide over that of h1
    at = (machine.states[0] == h1[0]).all(-1)
    log_p, log_q = machine.log_joint(DATA)[:, at], machine.log_guide(DATA)[:, at]
    log_q = log_q - log_q.logsumexp(-1, keepdim=True)
    exact = exact_gradient(machine, -(log_q.exp() * (log_p - log_q)).sum())
    found = {name: value for name, value in named_gradients(model, guide).items() if "recognition.0" not in name}
    for name, z in worst_z(found, {name: exact[name] for name in found}).items():
        assert z < Z_THRESHOLD, f"{name} is {z:.1f} standard errors off"


def test_normalisation_shortens_the_gradient_of_each_site_by_its_running_deviation() -> None:
    scheme, machine = NVIL(1, hidden_units=5), tiny_machine("sigmoid", spread=2.0)
    model, guide = warmed_up(scheme, machine)
    spreads = {
        key.split(",")[0]: state.variance.sqrt().clamp(min=1)
        for key, state in scheme._baselines.of(model, guide).items()
    }
    found = gradients(scheme, model, guide)
    exact = exact_gradient(machine, -machine.elbo(DATA).sum())
    for level, site in enumerate(("h1", "h2")):
        assert float(spreads[site].mean()) > 1.01
        for name in exact:
            if name.startswith(f"guide.recognition.{level}"):
                found[name] = found[name] * spreads[site].reshape(-1, 1, 1)
    for name, z in worst_z(found, exact).items():
        assert z < Z_THRESHOLD, f"{name} is {z:.1f} standard errors off"


def test_a_baseline_sees_the_layer_below_or_the_data() -> None:
    scheme, machine = NVIL(2, hidden_units=5), tiny_machine("sigmoid")
    scheme.restart_losses(machine.model, machine.guide, **KWARGS)
    inputs = {
        key.split(",")[0]: state.weights[0].shape
        for key, state in scheme._baselines.of(machine.model, machine.guide).items()
    }
    assert inputs == {"h1": (1, 3, 5), "h2": (1, 2, 5)}


def test_restarts_have_baselines_of_their_own() -> None:
    scheme = NVIL(1, hidden_units=5)
    model, guide = BeliefNetwork((3, 2), restarts=2, seed=0), FactorialRecognition((3, 2), restarts=2, seed=0)
    for _ in range(3):
        scheme.restart_losses(model, guide, observations={"x": DATA.float()})
    (state,) = scheme._baselines.of(model, guide).values()
    assert state.mean.shape == (2, 1)
    assert not torch.equal(state.weights[2][0], state.weights[2][1])


def test_the_value_alone_teaches_nothing() -> None:
    scheme, machine = NVIL(1), tiny_machine("sigmoid")
    scheme.loss(machine.model, machine.guide, **KWARGS)
    assert all(state.is_new for state in scheme._baselines.of(machine.model, machine.guide).values())


def test_baselines_go_with_their_machine() -> None:
    scheme, machine = NVIL(1), tiny_machine("sigmoid")
    scheme.restart_losses(machine.model, machine.guide, **KWARGS)
    assert len(scheme._baselines) == 1
    del machine
    gc.collect()
    assert len(scheme._baselines) == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hidden_units": 0}, "hidden_units must be at least 1, got 0"),
        ({"learning_rate": 0.0}, r"learning_rate must be positive, got 0\.0"),
        ({"decay": 1.0}, r"decay must be from 0 to below 1, got 1\.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        NVIL(1, **settings)  # type: ignore[arg-type]


def some_labels(observations: dict[str, Tensor]) -> None:
    """A label that is seen in some minibatches and a latent in others, and a latent below it."""
    x = observations["x"]
    with pyro.plate("data", len(x), dim=-1):
        y = pyro.sample("y", dist.Bernoulli(torch.tensor(0.4)), obs=observations.get("y"))
        z = pyro.sample("z", dist.Bernoulli(logits=y - 0.5))
        pyro.sample("x", dist.Bernoulli(logits=torch.stack(torch.broadcast_tensors(z, y), -1)).to_event(1), obs=x)


def label_reader(observations: dict[str, Tensor]) -> None:
    at = pyro.param("at", torch.zeros(2))
    with pyro.plate("data", len(observations["x"]), dim=-1):
        y = observations.get("y")
        y = pyro.sample("y", dist.Bernoulli(logits=at[0])) if y is None else y
        pyro.sample("z", dist.Bernoulli(logits=at[1] + y))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_site_may_be_latent_in_one_call_and_observed_in_the_next(dtype: torch.dtype) -> None:
    """And data may be of another dtype than the parameters."""
    scheme, x = NVIL(2, hidden_units=5), DATA[:, :2].to(dtype)
    svi = pyro.infer.SVI(some_labels, label_reader, pyro.optim.Adam({"lr": 0.01}), loss=scheme)
    for _ in range(3):
        assert svi.step(observations={"x": x}) > 0
        assert svi.step(observations={"x": x, "y": torch.ones(3, dtype=dtype)}) > 0


def test_a_site_that_is_drawn_from_more_in_one_call_than_in_the_next_has_two_baselines() -> None:
    def beside(program: Program) -> Program:
        """With the label beside the observations, where a baseline does not see it."""
        return lambda x, y=None: program({"x": x} if y is None else {"x": x, "y": y})

    scheme, x = NVIL(2, hidden_units=5), DATA[:, :2].float()
    svi = pyro.infer.SVI(beside(some_labels), beside(label_reader), pyro.optim.Adam({"lr": 0.01}), loss=scheme)
    for y in (None, torch.ones(3), None):
        assert svi.step(x, y) > 0
    learned = {name.partition("/")[2] for name in scheme.state_dict()}
    assert learned == {f"{site} inputs, 1 restarts" for site in ("y, 0", "z, 0", "z, 1")}


def test_baselines_learn_in_one_dtype_whatever_the_data_come_in() -> None:
    scheme = NVIL(2, hidden_units=5)
    model, guide = BeliefNetwork((3, 2), seed=0), FactorialRecognition((3, 2), seed=0)
    for x in (DATA, DATA.float(), DATA.double()):
        assert float(scheme.differentiable_loss(model, guide, observations={"x": x}).detach()) > 0
