"""Belief networks through time, held to sums over all sequences of states, and to the forward algorithm."""

from __future__ import annotations

from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.programs.particles import score
from tests.checker import Z_THRESHOLD, z_scores
from tests.claims import CLAIMS, LEFT_OUT, Exact, check, estimates, exact_gradient
from tests.oracle import binary_rows
from tests.suite.members import far_from_the_start, replicated

SIZES, STEPS = (2, 1, 1), 3
REPLICATES = 400
SCHEMES = [name for name, claim in CLAIMS.items() if not claim.needs_bernoulli]


def pair(restarts: int = 1) -> tuple[Any, Any]:
    made = (kind(SIZES, restarts=restarts, seed=1) for kind in (helm.TemporalBeliefNetwork, helm.TemporalRecognition))
    model, guide = (far_from_the_start(each) for each in made)
    return model, guide


def observed() -> dict[str, Tensor]:
    """A whole sequence with a value missing, and two that end before."""
    x = (torch.rand(3, STEPS, SIZES[0], generator=torch.Generator().manual_seed(0)) < 0.5).double()
    x[0, 1, 0] = torch.nan
    return {"x": x, "length": torch.tensor([3, 1, 2])}


def log_bernoulli(drive: Tensor, value: Tensor) -> Tensor:
    p = 1 / (1 + torch.exp(-drive))
    return torch.where(value == 1, p, 1 - p).log()


def of_steps(layer: Any, values: Tensor, causes: Tensor | None, inside: Tensor) -> Tensor:
    """log p of a layer's sequence, step by step and unit by unit, [...], of values [..., steps, units]."""
    total = torch.zeros(())
    for step in range(STEPS):
        for unit in range(values.shape[-1]):
            drive = layer.leak[0, 0, unit] + (layer.first_leak[0, 0, unit] if step == 0 else 0.0)
            if causes is not None:
                drive = drive + sum(causes[..., step, k] * layer.weight[0, k, unit] for k in range(causes.shape[-1]))
            if step and layer.before is not None:
                drive = drive + sum(
                    values[..., step - 1, k] * layer.before[0, k, unit] for k in range(values.shape[-1])
                )
            value = values[..., step, unit]
            counts = inside[..., step] & ~value.isnan()
            total = total + torch.where(counts, log_bernoulli(drive, value.nan_to_num()), 0.0)
    return total


def hidden() -> tuple[Tensor, Tensor]:
    """All sequences of both layers, [states, steps, units]."""
    rows = binary_rows(2 * STEPS).reshape(-1, 2, STEPS, 1)
    return rows[:, 0], rows[:, 1]


class Enumerated(Exact):
    """All states of a pair, of which those that differ after a sequence's end count once."""

    def __init__(self, model: Any, guide: Any, observations: dict[str, Tensor]) -> None:
        x = observations["x"][:, None]
        inside = torch.arange(STEPS) < observations["length"][:, None, None]
        h1, h2 = (states[None] for states in hidden())
        (visible, lower, upper), (first, second) = model.generative, guide.recognition
        log_p = of_steps(visible, x, h1, inside) + of_steps(lower, h1, h2, inside) + of_steps(upper, h2, None, inside)
        log_q = of_steps(first, h1, x.nan_to_num(nan=0.5), inside) + of_steps(second, h2, h1, inside)
        twice = (torch.cat([h1, h2], -1).sum(-1) * ~inside).sum(-1) > 0
        self.log_p, self.log_q = log_p.masked_fill(twice, LEFT_OUT), log_q.masked_fill(twice, LEFT_OUT)
        self.every = log_p, log_q


def forward_algorithm(model: Any, x: Tensor, length: Tensor) -> Tensor:
    """log p(x), [data], of a network of one hidden layer, as a hidden Markov model of its joint states."""
    visible, layer = model.generative
    states = binary_rows(layer.num_units).to(x)
    drive = states @ layer.before[0] + layer.leak[0]
    moves = log_bernoulli(drive[:, None], states[None]).sum(-1)
    start = log_bernoulli(layer.leak[0] + layer.first_leak[0], states).sum(-1)
    shown = states @ visible.weight[0] + visible.leak[0]
    total = torch.zeros(len(x), len(states)).to(x)
    for step in range(x.shape[1]):
        before = start if step == 0 else (total[:, :, None] + moves).logsumexp(1)
        seen = shown + visible.first_leak[0] if step == 0 else shown
        after = before + log_bernoulli(seen, x[:, step, None]).sum(-1)
        total = torch.where(step < length[:, None], after, total)
    return torch.where(length > 0, total.logsumexp(-1), 0.0).detach()


def test_sites_score_as_the_equations() -> None:
    model, guide = pair()
    observations = observed()
    values = {name: states[:, None, None] for name, states in zip(("h1", "h2"), hidden(), strict=True)}
    for program, expected in zip((model, guide), Enumerated(model, guide, observations).every, strict=True):
        found = score(program, values, kwargs={"observations": observations}).log_joint[:, 0]
        assert torch.allclose(found.T, expected, rtol=1e-9, atol=1e-12)


def test_likelihood_and_posterior_are_sums_over_all_sequences() -> None:
    model, guide = pair()
    exact = Enumerated(model, guide, observed())
    found = helm.exact_posterior(model, guide, observed())
    assert torch.allclose(found.log_likelihood[0], exact.log_p.logsumexp(-1), rtol=1e-10)
    posterior = exact.log_p.log_softmax(-1)
    assert found.kl is not None
    assert torch.allclose(found.kl[0], (exact.log_q.exp() * (exact.log_q - posterior)).sum(-1), rtol=1e-8)
    sampled = helm.log_likelihood(model, guide, observed(), num_samples=20_000).table
    z = (sampled.log_likelihood - found.log_likelihood[0].numpy()) / sampled.stderr
    assert float(z.abs().max()) < Z_THRESHOLD


def test_likelihood_is_that_of_the_forward_algorithm() -> None:
    model = far_from_the_start(helm.TemporalBeliefNetwork((3, 2), seed=0))
    x, length = (
        (torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(0)) < 0.5).double(),
        torch.tensor([4, 2, 0, 1]),
    )
    found = helm.log_likelihood(model, None, {"x": x, "length": length}, method="exact").table.log_likelihood
    assert torch.allclose(
        torch.tensor(found.to_list(), dtype=torch.float64), forward_algorithm(model, x, length), rtol=1e-10
    )


def test_what_comes_after_the_end_does_not_count() -> None:
    model, guide = pair()
    x = observed()["x"].nan_to_num()
    whole = {"x": x, "length": torch.full((3,), 2)}
    other = whole | {"x": torch.cat([x[:, :2], 1 - x[:, 2:]], 1)}
    cut = {"x": x[:, :2], "length": torch.full((3,), 2)}
    expected, *others = (helm.exact_posterior(model, guide, data) for data in (whole, other, cut))
    for found in others:
        assert torch.allclose(found.log_likelihood, expected.log_likelihood, rtol=1e-12)
        assert found.kl is not None
        assert expected.kl is not None
        assert torch.allclose(found.kl, expected.kl, rtol=1e-10)


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_follows_what_it_claims(name: str) -> None:
    claim, observations = CLAIMS[name], observed()
    model, guide = pair()
    many = (
        replicated(model, helm.TemporalBeliefNetwork(SIZES, restarts=REPLICATES)),
        replicated(guide, helm.TemporalRecognition(SIZES, restarts=REPLICATES)),
    )
    exact = Enumerated(model, guide, observations)
    expected = exact_gradient(-claim.objective(exact), model, guide)
    check(claim, -claim.value(exact).detach(), expected, *estimates(claim.scheme, *many, observations))


@pytest.mark.parametrize("scheme", [helm.DisARM(2), helm.Relaxed(2), helm.MeanField(), helm.ExactMeanField()])
def test_schemes_of_independent_binary_units_say_that_they_do_not_take_it(scheme: helm.Scheme) -> None:
    refusal = r"site 'h1' of the guide is a ThroughTime|got a TemporalBeliefNetwork"
    with pytest.raises((TypeError, ValueError), match=refusal):
        scheme.loss(*pair(), observations=observed())


def test_dreams_follow_the_model() -> None:
    model = far_from_the_start(helm.TemporalBeliefNetwork((1, 2), seed=0))
    pyro.set_rng_seed(0)
    dreams = model(num_data=20_000, num_steps=STEPS).detach().flatten(1)
    rows = binary_rows(STEPS)
    chances = forward_algorithm(model, rows[..., None], torch.full((len(rows),), STEPS)).exp()
    assert float(chances.sum()) == pytest.approx(1)
    assert float(z_scores((dreams[:, None] == rows).all(-1).double(), chances).abs().max()) < Z_THRESHOLD


def test_training_finds_the_likelihood_of_generated_sequences() -> None:
    """Of a chain that seldom changes its state; steps taken one by one are far worse."""
    true = helm.TemporalBeliefNetwork((3, 1), seed=0).double()
    visible, layer = true.generative
    with torch.no_grad():
        visible.weight.fill_(4.0), visible.leak.fill_(-2.0), visible.first_leak.zero_()
        layer.before.fill_(5.0), layer.leak.fill_(-2.5), layer.first_leak.fill_(2.5)
    pyro.set_rng_seed(0)
    length = torch.randint(3, 9, (600,))
    x = true(num_data=600, num_steps=8).detach()
    train, test = ({"x": x[rows], "length": length[rows]} for rows in (slice(400), slice(400, None)))
    model, guide = (kind((3, 1), seed=0) for kind in (helm.TemporalBeliefNetwork, helm.TemporalRecognition))
    helm.fit(
        model,
        guide,
        train,
        scheme=helm.ReweightedWakeSleep(5),
        num_epochs=40,
        learning_rate=0.03,
        step="captured",
        seed=0,
        progress=False,
    )
    known = forward_algorithm(true, test["x"], test["length"]).mean()
    found = forward_algorithm(model.double(), test["x"], test["length"]).mean()
    with torch.no_grad():
        layer.before.zero_(), layer.leak.zero_(), layer.first_leak.zero_()
    one_by_one = forward_algorithm(true, test["x"], test["length"]).mean()
    assert float(known - found) < 0.15
    assert float(known - one_by_one) > 1


@pytest.mark.parametrize(
    ("observations", "error", "match"),
    [
        ({"x": torch.zeros(3, 2)}, ValueError, r"shape \[..., data, steps, 2\], got \[3, 2\]"),
        ({"x": torch.zeros(3, 4, 1)}, ValueError, r"shape \[..., data, steps, 2\], got \[3, 4, 1\]"),
        ({"x": torch.zeros(1, 4, 2), "length": torch.tensor([5])}, ValueError, "whole numbers from 0 to the 4 steps"),
        ({"x": torch.zeros(1, 4, 2), "length": torch.tensor([1.5])}, ValueError, "whole numbers from 0 to the 4 steps"),
        ({"x": torch.zeros(1, 4, 2), "h1": torch.zeros(1, 4, 1)}, ValueError, "observed as 'x' and 'length', got h1"),
        (torch.zeros(1, 4, 2), TypeError, "must be tensors by name"),
    ],
)
def test_what_are_no_sequences_is_refused(observations: Any, error: type[Exception], match: str) -> None:
    for program in pair():
        with pytest.raises(error, match=match):
            program(observations)
