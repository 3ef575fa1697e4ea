"""The recognition network: factorial in each layer, bottom up."""

from __future__ import annotations

import pytest
import torch
from pyro import poutine

from pyro_helm.guides import FactorialRecognition
from pyro_helm.schemes import Reinforce
from tests.checker import DATA, tiny_machine


def test_sites_score_as_the_papers_equation() -> None:
    machine = tiny_machine("sigmoid")
    trace = poutine.trace(machine.guide).get_trace({"x": DATA})
    trace.compute_log_prob()
    state = torch.cat([trace.nodes[name]["value"] for name in ("h1", "h2")], -1)
    index = (state @ torch.tensor([8.0, 4.0, 2.0, 1.0]).double()).long()
    expected = machine.log_guide(DATA).gather(1, index[:, None])[:, 0]
    log_prob = trace.nodes["h1"]["log_prob"] + trace.nodes["h2"]["log_prob"]
    assert torch.allclose(log_prob, expected, rtol=1e-10)


@pytest.mark.parametrize("restarts", [1, 3])
def test_shapes_are_restarts_data_units(restarts: int) -> None:
    guide = FactorialRecognition((6, 4, 3), restarts=restarts, seed=0)
    leading = (restarts,) if restarts > 1 else ()
    assert [h.shape for h in guide({"x": torch.ones(5, 6)})] == [(*leading, 5, 4), (*leading, 5, 3)]


def test_initial_values_differ_from_the_models_of_the_same_seed() -> None:
    machine = tiny_machine("sigmoid", spread=0.0)
    model_weight, guide_weight = machine.model.generative[0].weight, machine.guide.recognition[0].weight
    assert not torch.equal(model_weight.flatten().sort().values, guide_weight.flatten().sort().values)


def test_it_says_what_it_needs() -> None:
    guide = FactorialRecognition((6, 4), seed=0)
    with pytest.raises(ValueError, match=r'call it with observations=\{"x": values\}'):
        guide()
    with pytest.raises(ValueError, match=r"shape \[..., data, 6\], got \[5, 7\]"):
        guide({"x": torch.ones(5, 7)})
    with pytest.raises(ValueError, match="sizes must be two or more positive integers"):
        FactorialRecognition((6,))


def test_a_hidden_layer_that_is_observed_is_not_sampled() -> None:
    machine = tiny_machine("sigmoid")
    h1 = torch.ones(3, 2)
    trace = poutine.trace(machine.guide).get_trace({"x": DATA, "h1": h1})
    assert "h1" not in trace.nodes
    loss = Reinforce(2).loss(machine.model, machine.guide, observations={"x": DATA, "h1": h1})
    assert loss > 0


@pytest.mark.parametrize("restarts", [1, 3])
def test_means_go_all_the_way_up_without_sampling(restarts: int) -> None:
    """Equation 3.10."""
    guide = FactorialRecognition((3, 4, 2), restarts=restarts, seed=0).double()
    state = torch.random.get_rng_state()
    layers = guide.mean_field({"x": DATA})
    assert torch.equal(torch.random.get_rng_state(), state)
    leading = (restarts,) if restarts > 1 else ()
    assert [layer.batch_shape for layer in layers] == [(*leading, 3, 4), (*leading, 3, 2)]
    for restart in range(restarts):
        q = DATA
        for level, layer in enumerate(layers):
            weight, leak = guide.recognition[level].weight[restart], guide.recognition[level].leak[restart]
            q = 1 / (1 + torch.exp(-(q @ weight + leak)))
            assert torch.allclose(layer.mean[restart] if leading else layer.mean, q, rtol=1e-12)


def test_means_are_those_of_the_sampled_layer_where_there_is_one_hidden_layer() -> None:
    guide = FactorialRecognition((3, 2), seed=0).double()
    trace = poutine.trace(guide).get_trace({"x": DATA})
    (layer,) = guide.mean_field({"x": DATA})
    assert torch.equal(trace.nodes["h1"]["fn"].base_dist.probs, layer.mean)


def test_means_need_data_of_the_right_width() -> None:
    guide = FactorialRecognition((6, 4), seed=0)
    with pytest.raises(ValueError, match=r"shape \[..., data, 6\], got \[5, 7\]"):
        guide.mean_field({"x": torch.ones(5, 7)})
    with pytest.raises(ValueError, match="a recognition network needs data to recognise"):
        guide.mean_field({"h1": torch.ones(5, 4)})
