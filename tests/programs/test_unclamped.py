"""Values of probability 0, or of less than torch's 1e-7, count as what they are, in every scheme and likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.programs.particles import draw_from_guide
from pyro_helm.programs.unclamped import drawable, unclamped_log_prob

NEVER, NAN = -math.inf, math.nan
P = [0.0, 1.0, 1e-12, 0.25]
LOG = [NEVER, 0.0, math.log(1e-12), math.log(0.25)]
LOG_OF_COMPLEMENT = [0.0, NEVER, -1e-12, math.log(0.75)]
SUM_OF_TWO = [NEVER, NEVER, 2 * LOG[2] + math.log(3) - 1e-12, math.log(3 * 0.25**2 * 0.75)]

CASES: dict[str, tuple[Callable[[Tensor], Any], list[float], list[float]]] = {
    "on": (dist.Bernoulli, [1.0] * 4, LOG),
    "off": (dist.Bernoulli, [0.0] * 4, LOG_OF_COMPLEMENT),
    "twice of three": (lambda p: dist.Binomial(3, p), [2.0] * 4, SUM_OF_TWO),
    "no success": (lambda p: dist.NegativeBinomial(torch.tensor(1.0), p), [0.0] * 4, LOG_OF_COMPLEMENT),
    "at once": (dist.Geometric, [0.0] * 4, LOG),
    "a category": (lambda p: dist.Categorical(torch.stack([1 - p, p], -1)), [1] * 4, LOG),
    "mixtures": (
        lambda p: dist.MixtureSameFamily(
            dist.Categorical(torch.stack([1 - p, p], -1)), dist.Bernoulli(torch.tensor([0.0, 1.0]).expand(4, 2))
        ),
        [1.0] * 4,
        LOG,
    ),
    "either": (
        lambda p: dist.MaskedMixture(torch.tensor(True), dist.Bernoulli(torch.zeros(4)), dist.Bernoulli(p)),
        [1.0] * 4,
        LOG,
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_log_probabilities_are_of_the_probabilities_that_were_given(what: str) -> None:
    make, values, expected = CASES[what]
    probs = torch.tensor(P, requires_grad=True)
    with pyro.validation_enabled(False):
        log_p = unclamped_log_prob(make(probs), torch.tensor(values))
        torchs = make(torch.full((4,), 0.25)).log_prob(torch.tensor(values))
    assert torch.allclose(log_p, torch.tensor(expected), rtol=1e-5, atol=1e-6)
    assert log_p[3].item() == pytest.approx(torchs[3].item(), rel=1e-5) or what == "either"
    (slope,) = torch.autograd.grad(log_p.sum(), probs)
    assert slope.isfinite().all()


def test_vectors_of_counts_and_codes() -> None:
    probs = torch.tensor([0.0, 0.25, 0.75])
    codes = unclamped_log_prob(dist.OneHotCategorical(probs), torch.eye(3))
    assert torch.allclose(codes, probs.log())
    counts = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    assert torch.allclose(
        unclamped_log_prob(dist.Multinomial(2, probs), counts), torch.tensor([NEVER, math.log(2 * 0.25 * 0.75)])
    )


def test_infinite_logits_are_certainties() -> None:
    fn = dist.Bernoulli(logits=torch.tensor([math.inf, -math.inf]))
    assert unclamped_log_prob(fn, torch.ones(2)).tolist() == [0.0, NEVER]
    assert unclamped_log_prob(fn, torch.zeros(2)).tolist() == [NEVER, 0.0]


def test_masks_events_and_larger_batches_are_kept() -> None:
    fn = dist.Bernoulli(torch.tensor([0.0, 0.5])).mask(torch.tensor([False, True])).to_event(1).expand([3])
    assert torch.allclose(unclamped_log_prob(fn, torch.ones(3, 2)), torch.full((3,), math.log(0.5)))
    assert unclamped_log_prob(dist.Bernoulli(torch.tensor(0.5)).expand([3]), torch.ones(())).shape == (3,)


def copies(observations: dict[str, Tensor]) -> None:
    """Pixels that are exactly their cause."""
    x = observations["x"]
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.5)))
        pyro.sample("x", dist.Bernoulli(z[..., None].expand(*z.shape, 2)).to_event(1), obs=x)


class Even(pyro.nn.PyroModule):  # type: ignore[misc]
    """A guide that proposes either cause."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = torch.nn.Parameter(torch.zeros(()))

    def forward(self, observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pyro.sample("z", dist.Bernoulli(logits=self.logit))


X = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
"""The middle one is impossible, the others have probability 1/2."""


def test_likelihoods_agree_on_what_is_impossible() -> None:
    half = math.log(0.5)
    exact = helm.log_likelihood(copies, None, X, method="exact").table
    assert exact.log_likelihood.tolist() == pytest.approx([half, NEVER, half], abs=1e-6)
    scores = helm.log_likelihood(copies, Even(), X, num_samples=2000)
    table = scores.table.log_likelihood.tolist()
    assert table[1] == NEVER
    assert [table[0], table[2]] == pytest.approx([half, half], abs=0.1)
    assert (
        "1 of 3 data have no finite log-likelihood: the model gives them probability zero in every draw"
        in scores.summary.warnings.item()
    )


def test_particles_of_probability_zero_weigh_nothing() -> None:
    torch.manual_seed(0)
    particles = draw_from_guide(copies, Even(), 50, kwargs={"observations": {"x": X}})
    z = particles.guide_sites["z"]["value"].squeeze(1)
    assert torch.equal(
        particles.log_joint.squeeze(1) > NEVER, torch.stack([z[:, 0] == 0, z[:, 1] == 2, z[:, 2] == 1], 1)
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda p: dist.Bernoulli(p),
        lambda p: dist.Binomial(3, p),
        lambda p: dist.Poisson(p),
        lambda p: dist.Categorical(logits=torch.stack([p, 1 - p], -1)),
        lambda p: dist.OneHotCategorical(logits=torch.stack([p, 1 - p], -1)),
        lambda p: dist.Multinomial(3, logits=torch.stack([p, 1 - p], -1)),
        lambda p: dist.Bernoulli(p).mask(torch.tensor(True)).expand([2]),
    ],
)
def test_a_row_that_is_nan_is_drawn_all_the_same_and_the_others_as_before(make: Callable[[Tensor], Any]) -> None:
    with pyro.validation_enabled(False):
        broken, sound = make(torch.tensor([0.5, NAN])), make(torch.tensor([0.5, 0.5]))
        torch.manual_seed(0)
        drawn = drawable(broken).sample((5,))
        torch.manual_seed(0)
        assert torch.equal(drawn[:, 0], drawable(sound).sample((5,))[:, 0])
        torch.manual_seed(0)
        assert torch.equal(drawn[:, 0], sound.sample((5,))[:, 0])
        log_p = unclamped_log_prob(broken, drawn)
    assert log_p[:, 0].isfinite().all()
    assert log_p[:, 1].isnan().all() or "Masked" in type(broken).__name__


def test_a_density_of_the_users_own_is_left_to_it() -> None:
    class Tilted(dist.Bernoulli):  # type: ignore[misc]
        def log_prob(self, value: Tensor) -> Tensor:
            log_p: Tensor = super().log_prob(value)
            return log_p - 3

    fn, value = Tilted(torch.tensor([0.5, 0.25])), torch.ones(2)
    assert torch.equal(unclamped_log_prob(fn, value), fn.log_prob(value))
    assert torch.equal(unclamped_log_prob(fn.to_event(1), value), fn.to_event(1).log_prob(value))
