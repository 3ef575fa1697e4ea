"""Exact posteriors: the layered sums against brute force, and against the sums over joint states."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods.posterior import Posterior, exact_posterior
from pyro_helm.models import BeliefNetwork
from tests.checker import DATA, tiny_machine
from tests.oracle import IMAGING, Machine, binary_rows


def deep_machine(imaging: str) -> Machine:
    model, guide = BeliefNetwork((4, 3, 2, 2), imaging, seed=1).double(), FactorialRecognition((4, 3, 2, 2), seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in [*model.parameters(), *guide.double().parameters()]:
            parameter += torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return Machine(model, guide)


@pytest.mark.parametrize("imaging", IMAGING)
@pytest.mark.parametrize("terms_at_once", [1, 50, 2**22])
def test_it_agrees_with_brute_force(imaging: str, terms_at_once: int) -> None:
    machine, x = deep_machine(imaging), binary_rows(4)
    with torch.no_grad():
        posterior = exact_posterior(machine.model, machine.guide, x, terms_at_once=terms_at_once)
        log_joint, log_p = machine.log_joint(x), machine.log_evidence(x)
        log_post = log_joint - log_p[:, None]
        assert torch.allclose(posterior.log_likelihood[0], log_p, atol=1e-12)
        assert torch.allclose(posterior.entropy[0], -(log_post.exp() * log_post).sum(-1), atol=1e-12)
        assert posterior.kl is not None
        assert torch.allclose(posterior.kl[0], log_p - machine.elbo(x), atol=1e-12)
        for name, states in zip(("h1", "h2", "h3"), machine.states, strict=True):
            assert torch.allclose(posterior.marginals[name][0], log_post.exp() @ states, atol=1e-12)


def test_the_posterior_can_be_asked_for_any_state() -> None:
    machine = tiny_machine("odds")
    posterior = exact_posterior(machine.model, None, DATA)
    log_prob = posterior.log_prob({"h1": machine.states[0], "h2": machine.states[1]})
    assert torch.allclose(log_prob.exp().sum(0), torch.ones(1, 3).double())
    expected = machine.log_joint(DATA) - machine.log_evidence(DATA)[:, None]
    assert torch.allclose(log_prob[:, 0].mT, expected.detach())
    assert posterior.kl is None


def test_restarts_are_a_batch_and_joint_states_give_the_same() -> None:
    sizes = (4, 3, 2)
    model, guide = BeliefNetwork(sizes, restarts=3, seed=0), FactorialRecognition(sizes, restarts=3, seed=0)
    x = binary_rows(4).float()
    layered = exact_posterior(model, guide, x)

    def any_guide(observations: dict[str, Tensor]) -> None:
        guide(observations)

    joint = exact_posterior(model, any_guide, x, terms_at_once=100)
    for name in ("log_likelihood", "entropy", "kl"):
        assert getattr(layered, name).shape == (3, 16)
        assert torch.allclose(getattr(layered, name), getattr(joint, name), atol=1e-5), name
    for name, marginal in layered.marginals.items():
        assert torch.allclose(marginal, joint.marginals[name], atol=1e-5)


def _topics(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", len(observations["x"]), dim=-1):
        topic = pyro.sample("topic", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])))
        logits = torch.tensor([[-1.0, 2.0], [0.5, 0.0], [2.0, 1.0]])[topic]
        pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=observations["x"])


def _posterior_under(probabilities: list[float]) -> Posterior:
    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pyro.sample("topic", dist.Categorical(torch.tensor(probabilities)))

    return exact_posterior(_topics, guide, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))


def test_categories_have_probabilities() -> None:
    posterior = _posterior_under([0.2, 0.5, 0.3])
    on = torch.sigmoid(torch.tensor([[-1.0, 2.0], [0.5, 0.0], [2.0, 1.0]]))
    likelihood = torch.stack([on[:, 0] * (1 - on[:, 1]), on.prod(-1)])
    expected = torch.tensor([0.2, 0.5, 0.3]) * likelihood
    expected = expected / expected.sum(-1, keepdim=True)
    assert torch.allclose(posterior.marginals["topic"][0], expected, atol=1e-6)
    assert posterior.kl is not None
    kl = (torch.tensor([0.2, 0.5, 0.3]) * (torch.tensor([0.2, 0.5, 0.3]) / expected).log()).sum(-1)
    assert torch.allclose(posterior.kl[0], kl, atol=1e-6)


def test_a_state_that_the_guide_never_proposes_costs_nothing_in_this_direction() -> None:
    posterior = _posterior_under([0.0, 0.5, 0.5])
    assert posterior.kl is not None
    assert bool(posterior.kl.isfinite().all())
    assert float(posterior.entropy.max()) < math.log(3)


def test_a_state_of_the_guide_that_the_posterior_has_not_costs_infinitely() -> None:
    """Also where the site is given a probability of exactly 0, of which its log-probability makes 1e-7."""

    def model(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            topic = pyro.sample("topic", dist.Categorical(torch.tensor([0.0, 0.6, 0.4])))
            logits = torch.tensor([[30.0] * 3, [-9.0] * 3, [-9.0] * 3])[topic]
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=observations["x"])

    def guide(observations: dict[str, Tensor]) -> None:
        probs = torch.stack([observations["x"][:, 0], torch.ones(2), torch.ones(2)], -1)
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pyro.sample("topic", dist.Categorical(probs))

    posterior = exact_posterior(model, guide, torch.tensor([[1.0] * 3, [0.0] * 3]))
    assert posterior.kl is not None
    assert posterior.kl.isinf().tolist() == [[True, False]]
    assert posterior.log_likelihood[0, 0].item() == pytest.approx(3 * math.log(1 / (1 + math.exp(9))), abs=1e-4)
    assert posterior.marginals["topic"][0, 0, 0].item() == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data has 0\.5"):
        exact_posterior(BeliefNetwork((3, 2)), None, DATA * 0.5)
    with pytest.raises(ValueError, match="same sizes"):
        exact_posterior(BeliefNetwork((3, 2)), FactorialRecognition((3, 4)), DATA)
    with pytest.raises(ValueError, match="raise max_terms"):
        exact_posterior(BeliefNetwork((3, 2)), None, DATA, max_terms=3)
    for terms, sentence in ((0, "max_terms must be at least 1, got 0"), (9.5, "max_terms must be a whole number")):
        with pytest.raises(ValueError, match=sentence):
            exact_posterior(BeliefNetwork((3, 2)), None, DATA, max_terms=terms)  # type: ignore[arg-type]
