"""Schemes on Pyro programs that are not ours: continuous and mixed latents, subsampled plates; all in closed form."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_helm.programs.pair import Programs
from pyro_helm.schemes import VIMCO, Reinforce, ReweightedWakeSleep, Scheme, WakeSleep
from pyro_helm.schemes.base import Estimate
from tests.checker import REPLICATES, Z_THRESHOLD, named_gradients, z_scores

Observations = Mapping[str, Tensor]

X = torch.tensor([[0.3], [-1.2], [0.9], [2.0]], dtype=torch.float64)


class Model(PyroModule):  # type: ignore[misc]
    """Coin c, then z | c ~ Normal(loc[c], 1) and x | z ~ Normal(z + shift, 1)."""

    def __init__(self, restarts: int, rows: Tensor | None = None) -> None:
        super().__init__()
        self.restarts = restarts
        self.rows = rows
        self.logit = nn.Parameter(torch.full((restarts, 1), 0.4).double())
        self.loc = nn.Parameter(torch.tensor([-1.0, 1.5]).double().repeat(restarts, 1))
        self.shift = nn.Parameter(torch.full((restarts, 1), 0.2).double())

    def forward(self, observations: Observations) -> None:
        x = observations["x"]
        with (
            pyro.plate("restarts", self.restarts, dim=-2),
            pyro.plate("data", x.shape[-2], subsample=self.rows, dim=-1) as rows,
        ):
            c = pyro.sample("c", dist.Bernoulli(logits=self.logit))
            loc = torch.where(c == 1, self.loc[:, 1:], self.loc[:, :1])
            z = pyro.sample("z", dist.Normal(loc[..., None], 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + self.shift[..., None], 1.0).to_event(1), obs=x[..., rows, :])


class Guide(PyroModule):  # type: ignore[misc]
    """q(c | x) logistic in x, q(z | c, x) normal with a mean linear in both."""

    def __init__(self, restarts: int, rows: Tensor | None = None) -> None:
        super().__init__()
        self.restarts = restarts
        self.rows = rows
        self.logit = nn.Parameter(torch.tensor([0.1, 0.6]).double().repeat(restarts, 1))
        self.loc = nn.Parameter(torch.tensor([-0.2, 0.5, 0.8]).double().repeat(restarts, 1))
        self.log_scale = nn.Parameter(torch.full((restarts, 1), -0.3).double())

    def forward(self, observations: Observations) -> None:
        x = observations["x"][..., 0]
        with (
            pyro.plate("restarts", self.restarts, dim=-2),
            pyro.plate("data", len(X), subsample=self.rows, dim=-1) as rows,
        ):
            # a sleep phase shows as many dreams as the plate has rows
            x = x[..., rows] if x.shape[-1] == len(X) else x
            c = pyro.sample("c", dist.Bernoulli(logits=self.logit[:, :1] + self.logit[:, 1:] * x))
            loc = self.loc[:, :1] + self.loc[:, 1:2] * x + self.loc[:, 2:] * c
            pyro.sample("z", dist.Normal(loc[..., None], self.log_scale.exp()[..., None]).to_event(1))


def elbo(model: Model, guide: Guide, x: Tensor) -> Tensor:
    """The bound of one restart in closed form, summed over the data."""
    x = x[:, 0]
    logit = guide.logit[0, 0] + guide.logit[0, 1] * x
    total = torch.zeros_like(x)
    variance = (2 * guide.log_scale[0, 0]).exp()
    for c in (0.0, 1.0):
        sign = 2 * c - 1
        log_q, log_p = nn.functional.logsigmoid(sign * logit), nn.functional.logsigmoid(sign * model.logit[0, 0])
        mean = guide.loc[0, 0] + guide.loc[0, 1] * x + guide.loc[0, 2] * c
        log_tau = torch.log(torch.tensor(2 * torch.pi))
        prior = -0.5 * (log_tau + (mean - model.loc[0, int(c)]) ** 2 + variance)
        likelihood = -0.5 * (log_tau + (x - mean - model.shift[0, 0]) ** 2 + variance)
        entropy = 0.5 * (log_tau + 1) + guide.log_scale[0, 0]
        total = total + log_q.exp() * (log_p - log_q + prior + likelihood + entropy)
    return total.sum()


def gradients(scheme: Scheme, x: Tensor, rows: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    model, guide = Model(REPLICATES, rows), Guide(REPLICATES, rows)
    pyro.set_rng_seed(0)
    losses = scheme.restart_losses(model, guide, observations={"x": x})
    losses.sum().backward()
    return losses.detach(), named_gradients(model, guide)


def exact(objective: Tensor, model: Model, guide: Guide) -> dict[str, Tensor]:
    objective.backward()
    return named_gradients(model, guide)


@pytest.mark.parametrize("num_particles", [1, 2, 4])
def test_reinforce_follows_the_bound_through_discrete_and_reparameterised_sites(num_particles: int) -> None:
    losses, samples = gradients(Reinforce(num_particles), X)
    model, guide = Model(1), Guide(1)
    bound = elbo(model, guide, X)
    assert abs(float(z_scores(-losses, bound.detach()))) < Z_THRESHOLD
    expected = exact(-bound, model, guide)
    for name, value in expected.items():
        assert float(z_scores(samples[name], value[0]).abs().max()) < Z_THRESHOLD, name


def test_reinforce_takes_the_pathwise_gradient_where_there_is_one() -> None:
    """A score-function gradient for z would have several times this variance."""
    _, samples = gradients(Reinforce(2), X)
    assert float(samples["guide.log_scale"].std()) < 4.0


def test_vimco_is_reinforce_plus_what_the_bound_gains_from_many_particles() -> None:
    """With reparameterised and discrete sites mixed, against the score-function gradient of the same bound."""
    _, samples = gradients(VIMCO(2), X)
    _, reference = gradients(ScoreFunctionBound(2), X)
    for name, sample in samples.items():
        assert two_sample_z(sample, reference[name]) < Z_THRESHOLD, name


class ScoreFunctionBound(Scheme):
    """The importance-weighted bound by the score function of all sites, slow and plain."""

    name = "score_function_bound"

    def estimate(self, programs: Programs) -> Estimate:
        particles = programs.draw_from_guide(self.num_particles)
        bound = particles.log_weight.logsumexp(0) - math.log(self.num_particles)
        score = particles.log_guide.sum(0)
        return Estimate(bound.sum(-1), (bound + (bound.detach() + 6.0) * score).sum(-1))


def test_wake_sleep_wakes_along_the_bound_for_theta() -> None:
    losses, samples = gradients(WakeSleep(2), X)
    model, guide = Model(1), Guide(1)
    bound = elbo(model, guide, X)
    assert abs(float(z_scores(-losses, bound.detach()))) < Z_THRESHOLD
    for name, value in exact(-bound, model, guide).items():
        if name.startswith("model"):
            assert float(z_scores(samples[name], value[0]).abs().max()) < Z_THRESHOLD, name


def test_wake_sleep_sleeps_along_the_expected_log_guide_for_phi() -> None:
    """E_p[log q(c, z | x)] for the continuous part, by quadrature over many dreams of one fixed machine."""
    _, samples = gradients(WakeSleep(2), X)
    model, guide = Model(1), Guide(1)
    generator = torch.Generator().manual_seed(1)
    number = 2_000_000
    with torch.no_grad():
        c = (torch.rand(number, generator=generator).double() < torch.sigmoid(model.logit[0, 0])).double()
        loc = torch.where(c == 1, model.loc[0, 1], model.loc[0, 0])
        z = loc + torch.randn(number, generator=generator).double()
        x = z + model.shift[0, 0] + torch.randn(number, generator=generator).double()
    log_q = nn.functional.logsigmoid((2 * c - 1) * (guide.logit[0, 0] + guide.logit[0, 1] * x))
    mean = guide.loc[0, 0] + guide.loc[0, 1] * x + guide.loc[0, 2] * c
    log_q = log_q - 0.5 * ((z - mean) / guide.log_scale[0, 0].exp()) ** 2 - guide.log_scale[0, 0]
    expected = exact(-len(X) * log_q.mean(), model, guide)
    for name, value in expected.items():
        if name.startswith("guide"):
            error = samples[name].std(0) * (1 / len(samples[name]) + 2 * len(X) / number) ** 0.5
            z_score = (samples[name].mean(0) - value[0]) / error
            assert float(z_score.abs().max()) < Z_THRESHOLD, name


def test_reweighted_wake_sleep_with_many_particles_follows_the_log_evidence() -> None:
    """With K particles the bias is of order 1/K; theta's gradient then is that of log p(x), a normal mixture here."""
    model, guide = Model(200), Guide(200)
    pyro.set_rng_seed(0)
    ReweightedWakeSleep(2000).restart_losses(model, guide, observations={"x": X}).sum().backward()
    one, its_guide = Model(1), Guide(1)
    parts = [
        nn.functional.logsigmoid((2 * c - 1) * one.logit[0, 0])
        + dist.Normal(one.loc[0, c] + one.shift[0, 0], 2**0.5).log_prob(X[:, 0])
        for c in (0, 1)
    ]
    expected = exact(-torch.stack(parts).logsumexp(0).sum(), one, its_guide)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad.mean(0), expected[f"model.{name}"][0], atol=0.02), name


@pytest.mark.parametrize(
    "scheme",
    [Reinforce(2), WakeSleep(2), ReweightedWakeSleep(3), ReweightedWakeSleep(3, insomnia=0.5), VIMCO(3)],
    ids=["reinforce", "wake_sleep", "wake-phi", "wake-phi and sleep-phi", "vimco"],
)
def test_minibatches_of_a_subsampled_plate_are_unbiased(scheme: Scheme) -> None:
    """Averaged over all minibatches of two, value and gradient are those of the whole data."""
    losses, samples = gradients(scheme, X)
    batches = [gradients(scheme, X, torch.tensor(rows)) for rows in itertools.combinations(range(len(X)), 2)]
    assert abs(two_sample_z(torch.stack([loss for loss, _ in batches]).mean(0), losses)) < Z_THRESHOLD
    for name, whole in samples.items():
        average = torch.stack([sample[name] for _, sample in batches]).mean(0)
        assert two_sample_z(average, whole) < Z_THRESHOLD, name


def two_sample_z(a: Tensor, b: Tensor) -> float:
    error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
    return float(((a.mean(0) - b.mean(0)) / error).abs().max())
