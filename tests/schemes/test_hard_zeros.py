"""Particles that are impossible weigh nothing; data of which all are leave the gradient to the other data."""

from __future__ import annotations

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.schemes import Relaxed, Scheme
from pyro_helm.schemes.base import normalised_weights
from pyro_helm.schemes.vimco import signals_of_bound

NEVER = -math.inf
LOW, HIGH = math.log(0.2), math.log(0.8)


class Model(pyro.nn.PyroModule):  # type: ignore[misc]
    """A pixel is off for certain where its cause is; else it is on by a learned probability."""

    def __init__(self, logit: float = 0.0) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, observations: dict[str, Tensor]) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-2], dim=-1):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.5)))
            probs = (z * torch.sigmoid(self.logit))[..., None]
            pyro.sample("x", dist.Bernoulli(probs).to_event(1), obs=x)


class Guide(pyro.nn.PyroModule):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(0.0))

    def forward(self, observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            pyro.sample("z", dist.Bernoulli(logits=self.logit))


def run(scheme: Scheme, x: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """The loss and its gradients for model and guide."""
    model, guide = Model(), Guide()
    torch.manual_seed(seed)
    loss = scheme.differentiable_loss(model, guide, observations={"x": x})
    slopes = torch.autograd.grad(loss, [model.logit, guide.logit], allow_unused=True)
    of_model, of_guide = (0.0 if slope is None else float(slope) for slope in slopes)
    return loss.item(), of_model, of_guide


ON = torch.ones(1, 1)
MULTI = [
    helm.VIMCO(20),
    helm.ReweightedWakeSleep(20),
    helm.ReweightedWakeSleep(20, defensive=0.2),
    helm.TVO(20, upper=True),
    helm.DisARM(20, multi_sample=True),
]


@pytest.mark.parametrize("scheme", MULTI, ids=lambda scheme: type(scheme).__name__)
def test_an_impossible_particle_leaves_bound_and_gradients_finite_and_right(scheme: Scheme) -> None:
    # x is on only if z is: of every draw the possible ones have log w = log(1/2 sigmoid) - log q, all the same
    loss, of_theta, of_phi = run(scheme, ON)
    assert math.isfinite(loss)
    # d/d logit of log sigmoid(logit) at 0 is 1/2, whatever the weights of the possible particles are
    assert all(map(math.isfinite, (of_theta, of_phi)))
    if not isinstance(scheme, helm.TVO):  # whose upper bound is another thing
        assert of_theta == pytest.approx(-0.5, abs=1e-5)
        assert of_phi < 0  # towards z = 1


def test_wake_phi_is_by_the_possible_particles_alone() -> None:
    # all weight is on z = 1, where d log q / d logit = 1 - 1/2
    assert run(helm.ReweightedWakeSleep(20), ON)[2] == pytest.approx(-0.5, abs=1e-5)


def test_signals_of_vimco_by_hand() -> None:
    log_weight = torch.tensor([LOW, NEVER, HIGH, LOW])[:, None]
    # with one particle gone; where the impossible one is among the others, what stands in weighs nothing
    without_impossible = math.log(0.2 + 0.8 + 0.2 + (0.2 * 0.8 * 0.2) ** (1 / 3))
    total = math.log(1.2)
    expected = [total - math.log(1.0), total - without_impossible, total - math.log(0.4), total - math.log(1.0)]
    assert signals_of_bound(log_weight).flatten().tolist() == pytest.approx(expected, abs=1e-6)
    alone = signals_of_bound(torch.tensor([[LOW], [NEVER]]))
    assert alone.flatten().tolist() == pytest.approx([LOW - math.log(2), LOW - math.log(0.4)], abs=1e-6)
    assert signals_of_bound(torch.full((3, 1), NEVER)).tolist() == [[0.0]] * 3


def test_weights_of_nothing_are_zero() -> None:
    weights = normalised_weights(torch.tensor([[NEVER, 0.0], [NEVER, NEVER]]))
    assert weights.tolist() == [[0.0, 1.0], [0.0, 0.0]]


def never(observations: dict[str, Tensor]) -> None:
    """Its second unit is always off."""
    x = observations["x"]
    with pyro.plate("data", x.shape[-2], dim=-1):
        z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.5)))
        logit = pyro.get_param_store()["logit"]
        probs = torch.stack([torch.sigmoid(logit + z), torch.zeros_like(z)], -1)
        pyro.sample("x", dist.Bernoulli(probs).to_event(1), obs=x)


@pytest.mark.parametrize(
    "scheme",
    [*MULTI, helm.TVO(20), helm.ExactEM(), helm.Gibbs(20)],
    ids=lambda scheme: type(scheme).__name__,
)
def test_an_impossible_datum_makes_the_loss_infinite_and_leaves_the_gradient_to_the_others(scheme: Scheme) -> None:
    possible, impossible = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    slopes = []
    for rows in ([possible, possible], [possible, impossible]):
        pyro.clear_param_store()
        logit = pyro.param("logit", torch.tensor(0.3))
        torch.manual_seed(0)
        guide = Guide()
        loss = scheme.differentiable_loss(never, guide, observations={"x": torch.stack(rows)})
        slopes.append(torch.autograd.grad(loss, logit)[0].item())
    assert loss.item() == math.inf
    assert math.isfinite(slopes[1])
    assert slopes[1] != 0
    assert abs(slopes[1]) < abs(slopes[0]) or isinstance(scheme, helm.Gibbs)  # whose draws are others
    pyro.clear_param_store()


def tilted(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", observations["x"].shape[-2], dim=-1):
        pyro.sample("z", dist.Bernoulli(logits=pyro.param("phi", torch.tensor(0.2))))


SINGLE = [
    helm.Reinforce(1),
    helm.Reinforce(5),
    helm.NVIL(1),
    helm.NVIL(4),
    helm.DisARM(1),
    helm.DisARM(4),
]


@pytest.mark.parametrize("scheme", SINGLE, ids=lambda scheme: f"{type(scheme).__name__}{scheme.num_particles}")
def test_an_impossible_datum_is_to_the_free_energy_s_gradient_as_one_that_is_masked(scheme: Scheme) -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])

    def step(mask: Tensor) -> tuple[float, list[float]]:
        pyro.clear_param_store()
        pyro.param("logit", torch.tensor(0.3))
        learner = pyro.infer.SVI(never, tilted, pyro.optim.SGD({"lr": 0.1}), loss=copy.copy(scheme))
        torch.manual_seed(0)
        with pyro.poutine.mask(mask=mask):
            steps = 1 if isinstance(scheme, helm.NVIL) else 3  # whose baselines learn of the masked one that it is 0
            losses = [learner.step(observations={"x": x}) for _ in range(steps)]
        return losses[-1], [pyro.param(name).item() for name in ("logit", "phi")]

    (loss, learned), (without, expected) = step(torch.tensor(True)), step(torch.tensor([True, False, True]))
    assert (loss, math.isfinite(without)) == (math.inf, True)
    assert learned == pytest.approx(expected, abs=1e-6)
    assert learned != [0.3, 0.2]
    pyro.clear_param_store()


@pytest.mark.parametrize("scheme", SINGLE, ids=lambda scheme: f"{type(scheme).__name__}{scheme.num_particles}")
def test_an_impossible_particle_is_no_gradient_of_the_free_energy(scheme: Scheme) -> None:
    for seed in range(5):
        loss, *slopes = run(copy.copy(scheme), torch.ones(6, 1), seed)
        assert loss == math.inf or scheme.num_particles == 1
        assert all(map(math.isfinite, slopes))


@pytest.mark.parametrize("scheme", SINGLE, ids=lambda scheme: f"{type(scheme).__name__}{scheme.num_particles}")
def test_an_impossible_datum_leaves_what_all_data_share_to_the_others(scheme: Scheme) -> None:
    phi = torch.tensor(0.2, requires_grad=True)

    def shared(x: Tensor, y: Tensor) -> None:
        z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.4)))
        with pyro.plate("data", len(x), dim=-1):
            probs = torch.stack([0.2 + 0.6 * z, torch.zeros_like(z)], -1)
            pyro.sample("x", dist.Bernoulli(probs).to_event(1), obs=x)
        with pyro.plate("others", len(y), dim=-1):
            pyro.sample("y", dist.Bernoulli(0.3 + 0.1 * z), obs=y)

    def guide(x: Tensor, y: Tensor) -> None:
        pyro.sample("z", dist.Bernoulli(logits=phi))

    y = torch.tensor([1.0, 0.0, 1.0])
    slopes = []
    for x in (torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0]])):
        torch.manual_seed(0)
        loss = copy.copy(scheme).differentiable_loss(shared, guide, x, y)
        slopes.append(torch.autograd.grad(loss, phi)[0].item())
        assert math.isinf(loss.item()) == (len(x) == 2)
    assert slopes[0] == pytest.approx(slopes[1], abs=1e-6)


def excluded(observations: dict[str, Tensor]) -> None:
    """The third category has probability zero."""
    x = observations["x"]
    with pyro.plate("data", x.shape[-2], dim=-1):
        z = pyro.sample("z", dist.Categorical(logits=torch.tensor([0.0, 1.0, NEVER])))
        pyro.sample("x", dist.Normal(z[..., None].float(), 1.0).to_event(1), obs=x)


def also_excluding(observations: dict[str, Tensor]) -> None:
    logits = pyro.param("phi", torch.tensor([0.5, 0.0, NEVER]))
    with pyro.plate("data", observations["x"].shape[-2], dim=-1):
        pyro.sample("z", dist.Categorical(logits=logits))


def test_exact_em_where_guide_and_prior_exclude_a_category() -> None:
    pyro.clear_param_store()
    x = torch.tensor([[0.3], [1.4], [-2.0]])
    loss = helm.ExactEM().differentiable_loss(excluded, also_excluding, observations={"x": x})
    prior = torch.tensor([0.0, 1.0]).log_softmax(0)
    joint = prior + dist.Normal(torch.tensor([0.0, 1.0]), 1.0).log_prob(x)
    assert loss.item() == pytest.approx(-joint.logsumexp(1).sum().item(), abs=1e-5)
    phi = pyro.get_param_store()["phi"]
    (slope,) = torch.autograd.grad(loss, phi)
    posterior = joint.softmax(1).sum(0)
    expected = 3 * torch.tensor([0.5, 0.0]).softmax(0) - posterior
    assert torch.allclose(slope, torch.cat([expected, torch.zeros(1)]), atol=1e-5)
    pyro.clear_param_store()


def test_relaxed_where_guide_and_prior_exclude_a_category() -> None:
    phi = torch.tensor([0.5, 0.0, NEVER], requires_grad=True)

    def model(observations: dict[str, Tensor]) -> None:
        x = observations["x"]
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.OneHotCategorical(logits=torch.tensor([0.0, 1.0, NEVER])))
            pyro.sample("x", dist.Normal(z @ torch.tensor([0.0, 1.0, 5.0]), 1.0), obs=x)

    def guide(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pyro.sample("z", dist.OneHotCategorical(logits=phi))

    x = torch.tensor([0.3, 1.4])
    torch.manual_seed(0)
    loss = Relaxed(20_000).differentiable_loss(model, guide, observations={"x": x})
    q = torch.tensor([0.5, 0.0]).softmax(0)
    joint = torch.tensor([0.0, 1.0]).log_softmax(0) + dist.Normal(torch.tensor([0.0, 1.0]), 1.0).log_prob(x[:, None])
    assert loss.item() == pytest.approx(-(q * (joint - q.log())).sum().item(), abs=0.05)  # some 4 standard errors
    (slope,) = torch.autograd.grad(loss, phi)
    assert slope.isfinite().all()


class Restarts(pyro.nn.PyroModule):  # type: ignore[misc]
    """A model or guide of a Categorical site, with restarts."""

    def __init__(self, number: int, *, observes: bool) -> None:
        super().__init__()
        self.restarts, self.observes = number, observes
        self.logits = nn.Parameter(torch.zeros(number, 1, 3))

    def forward(self, observations: dict[str, Tensor]) -> None:
        x = observations["x"]
        with pyro.plate("restarts", self.restarts, dim=-2), pyro.plate("data", x.shape[-2], dim=-1):
            z = pyro.sample("z", dist.Categorical(logits=self.logits))
            if self.observes:
                pyro.sample("x", dist.Bernoulli(logits=z[..., None].expand(*z.shape, 2).float()).to_event(1), obs=x)


@pytest.mark.parametrize("num_particles", [1, 5])
def test_a_restart_that_is_nan_fails_alone_where_a_site_is_categorical(num_particles: int) -> None:
    model, guide = Restarts(3, observes=True), Restarts(3, observes=False)
    with torch.no_grad():
        guide.logits[1] = math.nan
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    with pytest.warns(RuntimeWarning, match=r"restarts \[1\] of 3 failed"):
        result = helm.fit(
            model, guide, x, scheme=helm.Reinforce(num_particles), num_epochs=2, batch_size=2, seed=0, progress=False
        )
    assert result.summary.failed.tolist() == [False, True, False]
    assert all(parameter[[0, 2]].isfinite().all() for parameter in (model.logits, guide.logits))
