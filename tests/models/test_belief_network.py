"""The belief network: its probabilities, and a Pyro program that everything of Pyro's works on unchanged."""

from __future__ import annotations

import copy
import re
from typing import Any

import pyro
import pyro.infer
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, RenyiELBO, Trace_ELBO, TraceGraph_ELBO

from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from tests.checker import DATA, tiny_machine
from tests.oracle import IMAGING, binary_rows

SIZES = (6, 4, 3)
VECTORISED = {"vectorize_particles": True, "max_plate_nesting": 2}
PYROS_OBJECTIVES = [
    Trace_ELBO(num_particles=3, **VECTORISED),
    TraceGraph_ELBO(num_particles=3, **VECTORISED),
    RenyiELBO(num_particles=3, **VECTORISED),
    pyro.infer.ReweightedWakeSleep(num_particles=3, **VECTORISED),
    pyro.infer.ReweightedWakeSleep(num_particles=3, insomnia=0.5, **VECTORISED),
]


def data(rows: int = 5) -> torch.Tensor:
    return (torch.rand(rows, SIZES[0], generator=torch.Generator().manual_seed(0)) < 0.4).float()


@pytest.mark.parametrize("imaging", IMAGING)
def test_sites_score_as_the_papers_equations(imaging: str) -> None:
    machine = tiny_machine(imaging)
    trace = poutine.trace(machine.model).get_trace({"x": DATA})
    state = torch.cat([trace.nodes[name]["value"] for name in ("h1", "h2")], -1)
    index = (state @ torch.tensor([8.0, 4.0, 2.0, 1.0]).double()).long()
    expected = machine.log_joint(DATA).gather(1, index[:, None])[:, 0]
    log_prob = sum(site["log_prob"] for site in _scored(trace))
    assert torch.allclose(log_prob, expected, rtol=1e-10)


def _scored(trace: Any) -> list[Any]:
    trace.compute_log_prob()
    return [trace.nodes[name] for name in ("x", "h1", "h2")]


@pytest.mark.parametrize("imaging", IMAGING)
def test_dreams_follow_the_distribution_of_the_network(imaging: str) -> None:
    machine = tiny_machine(imaging)
    pyro.set_rng_seed(0)
    number = 40_000
    dreams = machine.model(num_data=number)
    patterns = binary_rows(3)
    frequency = (dreams[:, None] == patterns).all(-1).double().mean(0)
    probability = machine.log_evidence(patterns).exp().detach()
    z = (frequency - probability) / (probability * (1 - probability) / number).sqrt()
    assert float(z.abs().max()) < 4  # z-threshold


@pytest.mark.parametrize("restarts", [1, 3])
def test_shapes_are_restarts_data_units(restarts: int) -> None:
    model = BeliefNetwork(SIZES, ("noisy_or", "odds", "sigmoid"), restarts=restarts, seed=0)
    leading = (restarts,) if restarts > 1 else ()
    assert model().shape == (*leading, 1, 6)
    assert model(num_data=7).shape == (*leading, 7, 6)
    trace = poutine.trace(model).get_trace({"x": data()})
    assert trace.nodes["h2"]["value"].shape == (*leading, 5, 3)
    trace.compute_log_prob()
    assert trace.nodes["x"]["log_prob"].shape == (*leading, 5)
    assert [name for name, site in trace.nodes.items() if site["type"] == "sample" and name in ("x", "h1", "h2")] == [
        "h2",
        "h1",
        "x",
    ]


def test_any_layer_can_be_observed_conditioned_replayed_and_unconditioned() -> None:
    model = BeliefNetwork(SIZES, seed=0)
    h1 = torch.ones(5, 4)
    trace = poutine.trace(model).get_trace({"x": data(), "h1": h1})
    assert trace.nodes["h1"]["is_observed"]
    conditioned = poutine.trace(pyro.condition(model, {"x": data()})).get_trace(num_data=5)
    assert torch.equal(conditioned.nodes["x"]["value"], data())
    replayed = poutine.trace(poutine.replay(model, trace=conditioned)).get_trace({"x": data()})
    assert torch.equal(replayed.nodes["h1"]["value"], conditioned.nodes["h1"]["value"])
    pyro.set_rng_seed(0)
    dreamt = poutine.trace(poutine.uncondition(model)).get_trace({"x": torch.zeros(500, 6)})
    assert float(dreamt.nodes["x"]["value"].sum()) > 0


def test_observations_may_be_bool_or_integer() -> None:
    model = BeliefNetwork(SIZES, seed=0)
    for dtype in (torch.bool, torch.uint8):
        trace = poutine.trace(model).get_trace({"x": data().to(dtype)})
        trace.compute_log_prob()


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("imaging", IMAGING)
@pytest.mark.parametrize("loss", PYROS_OBJECTIVES, ids=lambda loss: type(loss).__name__)
def test_pyros_own_objectives_train_it_unchanged(loss: Any, imaging: str, restarts: int) -> None:
    model = BeliefNetwork(SIZES, imaging, restarts=restarts, seed=0)
    guide = FactorialRecognition(SIZES, restarts=restarts, seed=0)
    before = copy.deepcopy(model.state_dict())
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), loss=loss)
    pyro.set_rng_seed(0)
    losses = [svi.step(observations={"x": data()}) for _ in range(3)]
    assert all(torch.as_tensor(loss).isfinite().all() for loss in losses)
    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_dreams_and_recognises(parallel: bool) -> None:
    model, guide = BeliefNetwork(SIZES, seed=0), FactorialRecognition(SIZES, seed=0)
    dreams = Predictive(model, num_samples=4, parallel=parallel)(num_data=5)
    assert dreams["x"].shape[0] == 4
    assert dreams["x"].shape[-2:] == (5, 6)
    posterior = Predictive(model, guide=guide, num_samples=4, parallel=parallel)({"x": data()})
    assert posterior["h1"].shape[0] == 4


def test_two_machines_live_in_one_process() -> None:
    pyro.clear_param_store()
    one, other = BeliefNetwork(SIZES, seed=1), BeliefNetwork(SIZES, seed=2)
    traces = []
    for model in (one, other, one):
        pyro.set_rng_seed(0)
        trace = poutine.trace(model).get_trace({"x": data()})
        traces.append(float(trace.log_prob_sum().detach()))
    assert traces[0] == traces[2] != traces[1]
    assert not dict(pyro.get_param_store())


def test_initial_values_come_from_the_seed_and_differ_per_restart() -> None:
    one, same = BeliefNetwork(SIZES, restarts=3, seed=1), BeliefNetwork(SIZES, restarts=3, seed=1)
    other = BeliefNetwork(SIZES, restarts=3, seed=2)
    weight = one.generative[0].weight
    assert torch.equal(weight, same.generative[0].weight)
    assert not torch.equal(weight, other.generative[0].weight)
    assert not torch.equal(weight[0], weight[1])


def test_each_layer_has_its_own_imaging_model_and_leak() -> None:
    model = BeliefNetwork(
        SIZES,
        ("noisy_or", "odds", "sigmoid"),
        fixed_leak=(0.05, 0.2, None),
        learned_leak=(False, True, True),
    )
    assert model.generative[0].leak.shape == (1, 1, 6)
    assert torch.allclose(1 - torch.exp(-model.generative[0].leak), torch.tensor(0.05))
    assert bool((model.generative[1].leak > 0.2).all())
    assert len([name for name, _ in model.named_parameters() if "leak" in name]) == 2


def test_it_moves_to_another_dtype() -> None:
    model = BeliefNetwork(SIZES, "odds", fixed_leak=0.05, seed=0).double()
    assert model(num_data=2).dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sizes": (6,)}, "sizes must be two or more positive integers, bottom to top, visible units first; got (6,)"),
        ({"sizes": (6, 0)}, "sizes must be two or more positive integers"),
        ({"sizes": (6, 2.5)}, "sizes must be two or more positive integers"),
        ({"sizes": SIZES, "restarts": 0}, "restarts must be a positive integer, got 0"),
        (
            {"sizes": SIZES, "imaging": "relu"},
            "imaging must be one of sigmoid, noisy_or, odds, gaussian, poisson",
        ),
        ({"sizes": SIZES, "imaging": "relu"}, "subclass of Imaging; got 'relu'"),
        ({"sizes": SIZES, "imaging": "own:Layer"}, "got 'own:Layer'; import the module that defines it first"),
        ({"sizes": SIZES, "imaging": "gaussian"}, "the imaging of 'h1' is gaussian; give it as visible="),
        ({"sizes": SIZES, "visible": "categorical"}, "the categorical layer 'x' needs groups=, the sizes of"),
        ({"sizes": SIZES, "groups": 2}, "groups are for categorical layers, but 'x' is not categorical; got 2"),
        ({"sizes": SIZES, "visible": "categorical", "groups": (2, 3)}, "that add up to the 6 units of the layer"),
        ({"sizes": SIZES, "visible": "categorical", "groups": 4}, "that add up to the 6 units of the layer"),
        ({"sizes": SIZES, "visible": "categorical", "groups": (5, 1)}, "two or more in each, that add up"),
        ({"sizes": SIZES, "visible": "poisson", "fixed_leak": -1.0}, "a positive rate, got -1.0"),
        ({"sizes": SIZES, "imaging": ("odds", "odds")}, "imaging must be one value or 3, one per layer; got 2"),
        ({"sizes": SIZES, "imaging": "odds", "learned_leak": False}, "neither a fixed nor a learned leak"),
        ({"sizes": SIZES, "imaging": "noisy_or", "fixed_leak": 1.5}, "a probability between 0 and 1, got 1.5"),
        ({"sizes": SIZES, "imaging": "odds", "fixed_leak": -1.0}, "a positive number, got -1.0"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        BeliefNetwork(**arguments)


@pytest.mark.parametrize(
    ("observations", "sentence"),
    [
        ({"y": data()}, "there is no site 'y' to observe; the sites are x, h1, h2"),
        ({"x": data()[:, :5]}, "observations of 'x' must have shape [..., data, 6], got [5, 5]"),
        ({"x": data()[0]}, "observations of 'x' must have shape [..., data, 6], got [6]"),
    ],
)
def test_bad_observations_are_refused_in_a_sentence(observations: dict[str, torch.Tensor], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        BeliefNetwork(SIZES, seed=0)(observations)


@pytest.mark.parametrize("imaging", IMAGING)
@pytest.mark.parametrize("restarts", [1, 3])
def test_layer_log_probs_are_the_sites_where_the_means_are_states(imaging: str, restarts: int) -> None:
    model = BeliefNetwork(SIZES, imaging, restarts=restarts, seed=0).double()
    pyro.set_rng_seed(0)
    trace = poutine.trace(model).get_trace(num_data=5)
    sites = _scored(trace)
    x, *means = (site["value"] for site in sites)
    layers = model.layer_log_probs(lambda layer, causes: layer.log_probs(causes), means)
    assert len(layers) == 3
    for values, log_probs, site in zip([x, *means], layers, sites, strict=True):
        log_prob = (values * log_probs.on + (1 - values) * log_probs.off).sum(-1)
        assert torch.allclose(log_prob, site["log_prob"], rtol=1e-10)


def test_layer_log_probs_are_a_networks_own() -> None:
    pyro.clear_param_store()
    first, second = BeliefNetwork(SIZES, seed=0), BeliefNetwork(SIZES, seed=1)
    means = [torch.full((5, 4), 0.5), torch.full((5, 3), 0.5)]
    on = [
        network.layer_log_probs(lambda layer, q: layer.log_mean(q, max_enumerated=3), means)[0].on
        for network in (first, second)
    ]
    assert not torch.allclose(on[0], on[1])
    assert not dict(pyro.get_param_store())
