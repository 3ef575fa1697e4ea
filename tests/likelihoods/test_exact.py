"""Exact log-likelihoods: brute force over the joint, probabilities that sum to one, any Pyro model."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pyro_helm.latents.layer_states as layer_enumeration
from pyro_helm.guides import FactorialRecognition
from pyro_helm.latents.layer_states import num_terms
from pyro_helm.likelihoods.exact import exact_log_likelihood
from pyro_helm.models import BeliefNetwork
from tests.checker import tiny_machine
from tests.oracle import IMAGING, Machine, binary_rows


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3), min_size=2, max_size=4),
    imaging=st.sampled_from(IMAGING),
    seed=st.integers(0, 10_000),
    terms_at_once=st.sampled_from([1, 7, 2**22]),
)
def test_it_agrees_with_brute_force_and_sums_to_one(
    sizes: list[int], imaging: str, seed: int, terms_at_once: int
) -> None:
    model = BeliefNetwork(sizes, imaging, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        every_x = binary_rows(sizes[0])
        log_p = exact_log_likelihood(model, every_x, terms_at_once=terms_at_once)
        brute_force = Machine(model, FactorialRecognition(sizes).double()).log_evidence(every_x)
    assert torch.allclose(log_p[0], brute_force, rtol=0, atol=1e-10)
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("imaging", IMAGING)
def test_all_patterns_of_sixteen_pixels_sum_to_one(imaging: str) -> None:
    model = BeliefNetwork((16, 10, 10), imaging, seed=0).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    every_x = (torch.arange(2**16)[:, None] >> torch.arange(16) & 1).double()
    assert float(exact_log_likelihood(model, every_x).exp().sum()) == pytest.approx(1.0, abs=1e-10)


def test_restarts_are_scored_side_by_side() -> None:
    model = BeliefNetwork((4, 3, 2), ("odds", "sigmoid", "noisy_or"), restarts=3, seed=0)
    x = binary_rows(4).float()
    together = exact_log_likelihood(model, x)
    for restart in range(3):
        alone = BeliefNetwork((4, 3, 2), model.imaging)
        alone.load_state_dict({name: value[restart : restart + 1] for name, value in model.state_dict().items()})
        assert torch.allclose(together[restart], exact_log_likelihood(alone, x)[0], atol=1e-6)


def test_too_many_states_are_refused_with_their_number() -> None:
    sentence = (
        r"2\^22 and 2\^22 states of the hidden layers and 1 data make a sum of 2\^38\.\d terms, more than max_terms"
    )
    with pytest.raises(ValueError, match=sentence):
        exact_log_likelihood(BeliefNetwork((4, 22, 22)), torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"2\^3 and 2\^2 states .* 2\^3\.7 terms, .* raise max_terms"):
        exact_log_likelihood(BeliefNetwork((4, 3, 2)), torch.ones(1, 4), max_terms=10)


def test_a_wide_layer_between_narrow_ones_costs_its_pairs_not_the_joint() -> None:
    model = BeliefNetwork((6, 4, 12, 4), seed=0)
    assert num_terms(model, num_data=2) < 2**12
    assert exact_log_likelihood(model, torch.ones(2, 6), max_terms=2**12).isfinite().all()


def test_a_layer_with_more_states_than_can_be_held_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"30 units has too many states to hold in memory, 2\^30; at most 2\^27 in all can be summed; use",
    ):
        exact_log_likelihood(BeliefNetwork((4, 30)), torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"in each of 3 restarts has too many states .* score fewer restarts, or use"):
        exact_log_likelihood(BeliefNetwork((4, 27), restarts=3), torch.ones(1, 4))


def test_equal_rows_are_scored_once() -> None:
    model = BeliefNetwork((6, 4, 2), seed=0)
    x = binary_rows(6).float()[torch.randint(8, (1000,), generator=torch.Generator().manual_seed(0))]
    log_p = exact_log_likelihood(model, x, max_terms=num_terms(model, 8))
    assert torch.allclose(log_p[0, 17], exact_log_likelihood(model, x[17:18])[0, 0])


def test_it_agrees_with_the_oracle_of_the_gradient_tests() -> None:
    machine = tiny_machine("odds")
    every_x = binary_rows(3)
    assert torch.allclose(exact_log_likelihood(machine.model, every_x)[0], machine.log_evidence(every_x))


def test_what_is_held_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    class Recorded(layer_enumeration.JointTable):
        def __call__(self, values: torch.Tensor) -> Any:
            log_joint = super().__call__(values)
            held.extend([log_joint.numel(), self.table.numel()])
            return log_joint

    monkeypatch.setattr(layer_enumeration, "JointTable", Recorded)
    model = BeliefNetwork((5, 8, 3), restarts=2, seed=0)
    bounded = exact_log_likelihood(model, binary_rows(5).float(), terms_at_once=500)
    assert max(held) <= 500
    assert torch.allclose(bounded, exact_log_likelihood(model, binary_rows(5).float()), atol=1e-5)


def mixture(observations: dict[str, torch.Tensor]) -> None:
    """Categorical and binary causes of three pixels, an element at a time and in an event."""
    with pyro.plate("data", len(observations["x"]), dim=-1):
        topic = pyro.sample("topic", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])))
        switches = pyro.sample("switches", dist.Bernoulli(torch.tensor([0.3, 0.9])).to_event(1))
        logits = torch.tensor([-1.0, 0.5, 2.0])[topic][..., None] + switches @ torch.tensor([[1.0, -2, 0], [0.5, 0, 1]])
        pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=observations["x"])


def by_hand(x: torch.Tensor) -> torch.Tensor:
    """log p(x, topic, switches), [data, 3 topics x 4 switches]."""
    rows = []
    for topic, bias in ((0.2, -1.0), (0.5, 0.5), (0.3, 2.0)):
        for first, second in binary_rows(2).float():
            logits = bias + first * torch.tensor([1.0, -2, 0]) + second * torch.tensor([0.5, 0, 1])
            on = torch.sigmoid(logits)
            prior = topic * (0.3 if first else 0.7) * (0.9 if second else 0.1)
            rows.append(torch.log(prior * torch.where(x == 1, on, 1 - on).prod(-1)))
    return torch.stack(rows, -1)


@pytest.mark.parametrize("terms_at_once", [1, 40, 2**22])
def test_any_model_of_bernoulli_and_categorical_sites_is_summed_over_joint_states(terms_at_once: int) -> None:
    every_x = binary_rows(3).float()
    log_p = exact_log_likelihood(mixture, every_x, terms_at_once=terms_at_once)
    assert torch.allclose(log_p[0], by_hand(every_x).logsumexp(-1), atol=1e-6)


def test_restarts_of_any_model_are_a_batch() -> None:
    model = BeliefNetwork((3, 2, 2), "noisy_or", restarts=3, seed=0)

    def program(observations: dict[str, torch.Tensor]) -> torch.Tensor:
        dreamt: torch.Tensor = model(observations)
        return dreamt

    every_x = binary_rows(3).float()
    assert torch.allclose(exact_log_likelihood(program, every_x), exact_log_likelihood(model, every_x), atol=1e-6)


def test_what_cannot_be_enumerated_is_refused() -> None:
    def gaussian(observations: dict[str, torch.Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z).to_event(1), obs=observations["x"])

    def nothing(observations: dict[str, torch.Tensor]) -> None:
        pyro.sample("x", dist.Bernoulli(torch.tensor(0.5)).expand([1, 2]).to_event(2), obs=observations["x"])

    def shared(observations: dict[str, torch.Tensor]) -> None:
        switch = pyro.sample("switch", dist.Bernoulli(0.5))
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pyro.sample("x", dist.Bernoulli(logits=switch * torch.ones(2)).to_event(1), obs=observations["x"])

    x = torch.ones(1, 2)
    with pytest.raises(TypeError, match="sums over Bernoulli and Categorical sites, but site 'z' is a Normal"):
        exact_log_likelihood(gaussian, x)
    with pytest.raises(ValueError, match="has no latent site"):
        exact_log_likelihood(nothing, x)
    with pytest.raises(ValueError, match="is outside the data plate"):
        exact_log_likelihood(shared, x)
