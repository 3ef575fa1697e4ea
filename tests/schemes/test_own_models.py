"""Schemes on models in plain Pyro as a user would write them: value and mean gradient against enumeration.

A new scheme is one line in CLAIMS, a new model one in PAIRS.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from gradients import Z_THRESHOLD, named_gradients, z_scores
from numpy.polynomial.hermite_e import hermegauss
from pyro import poutine
from pyro.infer import SVI
from pyro.nn import PyroModule
from pyro.nn.module import to_pyro_module_
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.particles import Program
from pyro_helm.schemes import (
    NVIL,
    TVO,
    VIMCO,
    DisARM,
    ExactEM,
    Gibbs,
    Reinforce,
    Relaxed,
    ReweightedWakeSleep,
    Scheme,
    WakeSleep,
)

Observations = Mapping[str, Tensor]

LEFT_OUT = -1e30
"""Log-probability of a state that doesn't count; minus infinity would make differences of two no number."""

REPLICATES = 1500


@pytest.fixture(autouse=True)
def _own_param_store() -> Iterator[None]:
    with pyro.get_param_store().scope():
        yield


# --- what each scheme follows -------------------------------------------------------------------------------------


class Exact:
    """Log-probabilities of every joint state of a pair of one restart, by Pyro's own traces, one state at a time."""

    def __init__(self, model: Program, guide: Program, observations: Observations) -> None:
        latent = {
            name: site
            for name, site in poutine.trace(guide).get_trace(observations=observations).nodes.items()
            if site["type"] == "sample" and name not in ("data", "restarts")
        }
        every_value = [
            list(itertools.product(range(_num_values(site)), repeat=site["fn"].event_shape.numel()))
            for site in latent.values()
        ]
        log_joint: list[Tensor] = []
        log_guide: list[Tensor] = []
        for state in itertools.product(*every_value):
            values = {
                name: torch.tensor(value, dtype=site["value"].dtype).reshape(site["fn"].event_shape)
                for (name, site), value in zip(latent.items(), state, strict=True)
            }
            # what is masked has no states to sum over: only the first counts
            twice = torch.zeros(1, dtype=torch.bool)
            for name, site in latent.items():
                if site["mask"] is not None and bool(values[name].any()):
                    twice = twice | ~site["mask"]
            given = {name: value.expand(latent[name]["value"].shape) for name, value in values.items()}
            for program, log_probs in ((model, log_joint), (guide, log_guide)):
                trace = poutine.trace(poutine.condition(program, given)).get_trace(observations=observations)
                trace.compute_log_prob()
                sites = [site for site in trace.nodes.values() if site["type"] == "sample"]
                total = sum(site["log_prob"] for site in sites if site["name"] not in ("data", "restarts"))
                log_probs.append(torch.where(twice, LEFT_OUT, total).flatten())
        self.log_p, self.log_q = (torch.stack(log_probs, -1) for log_probs in (log_joint, log_guide))

    @property
    def elbo(self) -> Tensor:
        """E_q[log p - log q], summed over the data."""
        return _expected(self.log_q, self.log_p - self.log_q)

    @property
    def evidence(self) -> Tensor:
        return self.log_p.logsumexp(-1).sum()

    @property
    def posterior_joint(self) -> Tensor:
        """E[log p(x, h)] under the posterior, held fixed."""
        return _expected(self.log_p.log_softmax(-1).detach(), self.log_p)

    @property
    def posterior_wake(self) -> Tensor:
        """E[log p(x, h) + log q(h | x)] under the posterior, held fixed."""
        return self.posterior_joint + _expected(self.log_p.log_softmax(-1).detach(), self.log_q)

    @property
    def importance_bound(self) -> Tensor:
        """E[log mean_k w_k] of two draws, with all gradients."""
        log_p, log_q, chance = self._pairs(self.log_q)
        return _expected(chance, (log_p - log_q).logsumexp(-1) - math.log(2))

    def reweighted(self, insomnia: float, defensive: float = 0.0) -> Tensor:
        """log mean_k w_k + ``insomnia`` x sum_k v_k log q(h_k | x) of two draws, with draws and weights held fixed."""
        counts = (self.log_q > LEFT_OUT).double()
        mixture = torch.log((1 - defensive) * self.log_q.exp() + defensive * counts / counts.sum(-1, keepdim=True))
        log_proposal = torch.where(counts == 1, mixture, LEFT_OUT)
        log_p, log_q, chance = self._pairs(log_proposal)
        proposed = self._pairs(log_proposal, log_proposal)[1].detach()
        weight = (log_p - proposed).softmax(-1).detach()
        value = (log_p - proposed).logsumexp(-1) - math.log(2)
        return _expected(chance.detach(), value + insomnia * (weight * (log_q - log_q.detach())).sum(-1))

    def _pairs(self, log_proposal: Tensor, log_q: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        states = torch.arange(self.log_p.shape[-1])
        pair = torch.cartesian_prod(states, states)
        return self.log_p[:, pair], (self.log_q if log_q is None else log_q)[:, pair], log_proposal[:, pair].sum(-1)


def _expected(log_chance: Tensor, value: Tensor) -> Tensor:
    return (log_chance.exp() * value).sum()


def _num_values(site: Any) -> int:
    fn = site["fn"]
    while isinstance(fn, dist.Independent):
        fn = fn.base_dist
    return len(fn.enumerate_support(expand=False))


@dataclass(frozen=True)
class Claim:
    """What a scheme follows."""

    scheme: Scheme
    value: Callable[[Exact], Tensor]
    """Minus the expected loss."""
    objective: Callable[[Exact], Tensor]
    """Of which the gradient is minus the expected gradient of the loss."""
    of: tuple[str, ...] = ("model", "guide")
    """Whose gradient that is; what the other follows can't be enumerated, or is biased."""
    needs_bernoulli: bool = False
    takes_shared: bool = False
    """Whether a latent may stand outside the data plate."""
    dreams: bool = False


def elbo(exact: Exact) -> Tensor:
    return exact.elbo


def importance_bound(exact: Exact) -> Tensor:
    return exact.importance_bound


def evidence(exact: Exact) -> Tensor:
    return exact.evidence


def posterior_joint(exact: Exact) -> Tensor:
    return exact.posterior_joint


def posterior_wake(exact: Exact) -> Tensor:
    return exact.posterior_wake


def evidence_and_wake(exact: Exact) -> Tensor:
    return exact.evidence + exact.posterior_wake - exact.posterior_joint


def reweighted(exact: Exact, defensive: float = 0.0) -> Tensor:
    return exact.reweighted(1.0, defensive)


CLAIMS = {
    "reinforce, 1 particle": Claim(Reinforce(1), elbo, elbo, takes_shared=True),
    "reinforce, 3 particles": Claim(Reinforce(3), elbo, elbo, takes_shared=True),
    "nvil": Claim(NVIL(2, normalise=False, hidden_units=4), elbo, elbo, takes_shared=True),
    "disarm": Claim(DisARM(2), elbo, elbo, needs_bernoulli=True, takes_shared=True),
    "disarm, multi-sample": Claim(
        DisARM(2, multi_sample=True), importance_bound, importance_bound, needs_bernoulli=True
    ),
    "tvo, one interval": Claim(TVO(3, num_intervals=1), elbo, elbo),
    "vimco": Claim(VIMCO(2), importance_bound, importance_bound),
    "reweighted_wake_sleep": Claim(ReweightedWakeSleep(2), importance_bound, reweighted),
    "reweighted_wake_sleep, defensive": Claim(
        ReweightedWakeSleep(2, defensive=0.2), partial(reweighted, defensive=0.2), partial(reweighted, defensive=0.2)
    ),
    "reweighted_wake_sleep, insomnia": Claim(
        ReweightedWakeSleep(2, insomnia=0.5), importance_bound, reweighted, of=("model",), dreams=True
    ),
    "wake_sleep": Claim(WakeSleep(2), elbo, elbo, of=("model",), takes_shared=True, dreams=True),
    "relaxed": Claim(Relaxed(2), elbo, elbo, of=("model",), needs_bernoulli=True, takes_shared=True),
    "gibbs": Claim(Gibbs(2, num_sweeps=8, block_size=2), posterior_joint, posterior_wake),
    "exact_em": Claim(ExactEM(), evidence, evidence_and_wake),
}


# --- models and guides --------------------------------------------------------------------------------------------


class Part(PyroModule):  # type: ignore[misc]
    """What the models and guides share: their plates, and parameters of their own for every restart."""

    def __init__(self, restarts: int, rows: Tensor | None = None, size: int = 4) -> None:
        super().__init__()
        self.restarts = restarts
        self.rows = rows
        self.size = size

    @contextmanager
    def plates(self) -> Iterator[None]:
        """Restarts, where there are any, and data."""
        with ExitStack() as stack:
            if self.restarts:
                stack.enter_context(pyro.plate("restarts", self.restarts, dim=-2))
            stack.enter_context(self.data_plate())
            yield

    def data_plate(self) -> AbstractContextManager[Tensor]:
        plate: AbstractContextManager[Tensor] = pyro.plate("data", self.size, subsample=self.rows, dim=-1)
        return plate

    def seen(self, x: Tensor, event_dim: int) -> Tensor:
        """The minibatch of the data; a dream has as many as there are rows already."""
        dim = x.dim() - event_dim - 1
        return x if self.rows is None or x.shape[dim] == len(self.rows) else x.index_select(dim, self.rows)

    def learned(self, seed: int, *shape: int) -> nn.Parameter:
        generator = torch.Generator().manual_seed(seed)
        value = 0.8 * torch.randn(shape, generator=generator, dtype=torch.float64)
        return nn.Parameter(value.repeat(max(1, self.restarts), *[1] * len(shape)))

    def looked_up(self, table: Tensor, index: Tensor) -> Tensor:
        """Entries of a table ``[restarts, values, ...]``, ``[..., restarts, data, ...]``."""
        return table[torch.arange(len(table))[:, None], index]


class Mixture(Part):
    """Gaussians in the plane, of which each datum comes from one."""

    def __init__(self, *plates: Any) -> None:
        super().__init__(*plates)
        self.logits = self.learned(0, 3)
        self.means = self.learned(1, 3, 2)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            z = pyro.sample("z", dist.Categorical(logits=self.logits[:, None]))
            likelihood = dist.Normal(self.looked_up(self.means, z), 1.0).to_event(1)
            pyro.sample("x", likelihood, obs=self.seen(observations["x"], 1))


class Assignment(Part):
    """Guide of the mixture, linear in x."""

    def __init__(self, *plates: Any) -> None:
        super().__init__(*plates)
        self.weight = self.learned(2, 2, 3)
        self.shift = self.learned(3, 1, 3)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            x = self.seen(observations["x"], 1)
            pyro.sample("z", dist.Categorical(logits=x @ self.weight + self.shift))


class Topics(Part):
    """Two layers of topics over words, each caused by any of those above it."""

    def __init__(self, *plates: Any, kept: list[int] | None = None, missing: bool = False) -> None:
        super().__init__(*plates)
        self.kept = kept
        self.missing = missing
        self.prior = self.learned(0, 1, 2)
        self.log_topics = self.learned(1, 2, 2)
        self.log_words = self.learned(2, 2, 4)
        self.leak = self.learned(3, 1, 4)

    def forward(self, observations: Observations) -> None:
        x = self.seen(observations["x"], 1)
        with self.plates():
            top = pyro.sample("top", dist.Bernoulli(logits=self.prior).to_event(1))
            topics = pyro.sample("topics", helm.NoisyOrBernoulli(0.1 + top @ self.log_topics.exp()).to_event(1))
            rate = self.leak.exp() + topics @ self.log_words.exp()
            if self.kept is not None:
                x, rate = x[..., self.kept], rate[..., self.kept]
            self.observe(x, rate)

    def observe(self, x: Tensor, rate: Tensor) -> None:
        words = helm.NoisyOrBernoulli(rate)
        pyro.sample("x", (words.mask(~x.isnan()) if self.missing else words).to_event(1), obs=x)


class Reader(Part):
    """Guide of the topics, layer by layer."""

    def __init__(self, *plates: Any) -> None:
        super().__init__(*plates)
        self.weight = self.learned(4, 4, 2)
        self.shift = self.learned(5, 1, 2)
        self.upper = self.learned(6, 2, 2)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            x = self.seen(observations["x"], 1).nan_to_num()
            topics = pyro.sample("topics", dist.Bernoulli(logits=x @ self.weight + self.shift).to_event(1))
            pyro.sample("top", dist.Bernoulli(logits=topics @ self.upper).to_event(1))


LENGTH = 3


class Chain(Part):
    """A hidden Markov model of three states."""

    def __init__(self, *plates: Any) -> None:
        super().__init__(*plates)
        self.first = self.learned(0, 3)
        self.transition = self.learned(1, 3, 3)
        self.emission = self.learned(2, 3)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            logits = self.first[:, None]
            for t in range(LENGTH):
                z = pyro.sample(f"z{t}", dist.Categorical(logits=logits))
                seen = dist.Bernoulli(logits=self.looked_up(self.emission, z))
                pyro.sample(f"x{t}", seen, obs=self.seen(observations[f"x{t}"], 0))
                logits = self.looked_up(self.transition, z)

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x) of data ``[data, time]`` by the forward algorithm, ``[data]``."""
        transition = self.transition[0].log_softmax(-1)
        alpha = self.first[0].log_softmax(-1) + nn.functional.logsigmoid((2 * x[:, :1] - 1) * self.emission[0])
        for t in range(1, LENGTH):
            alpha = (alpha[:, :, None] + transition).logsumexp(1)
            alpha = alpha + nn.functional.logsigmoid((2 * x[:, t, None] - 1) * self.emission[0])
        return alpha.logsumexp(-1)


class Filter(Part):
    """Guide of the chain: each state given the one before and what is seen."""

    def __init__(self, *plates: Any) -> None:
        super().__init__(*plates)
        self.first = self.learned(3, 3)
        self.transition = self.learned(4, 3, 3)
        self.seeing = self.learned(5, 3)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            logits = self.first[:, None]
            for t in range(LENGTH):
                x = self.seen(observations[f"x{t}"], 0)
                z = pyro.sample(f"z{t}", dist.Categorical(logits=logits + x[..., None] * self.seeing[:, None]))
                logits = self.looked_up(self.transition, z)


POINTS = torch.tensor([[0.3, -1.0], [1.2, 0.4], [-0.6, 0.1], [0.2, 1.4]], dtype=torch.float64)
WORDS = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
SERIES = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0]], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Pair:
    """A model, its guide and data."""

    model: Callable[..., Part]
    guide: Callable[..., Part]
    observations: Observations
    bernoulli: bool = False
    """Whether all latents are."""


PAIRS = {
    "mixture": Pair(Mixture, Assignment, {"x": POINTS}),
    "topics": Pair(Topics, Reader, {"x": WORDS}, bernoulli=True),
    "chain": Pair(Chain, Filter, {f"x{t}": SERIES[:, t] for t in range(LENGTH)}),
}
TOPICS = PAIRS["topics"]

every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
every_claim_without_dreams = pytest.mark.parametrize(
    "claim", [pytest.param(claim, id=name) for name, claim in CLAIMS.items() if not claim.dreams]
)
fits = [
    pytest.param(pair, claim, id=f"{of}-{name}")
    for of, pair in PAIRS.items()
    for name, claim in CLAIMS.items()
    if pair.bernoulli or not claim.needs_bernoulli
]


# --- the one check ------------------------------------------------------------------------------------------------


def estimates(
    scheme: Scheme,
    model: nn.Module,
    guide: nn.Module,
    observations: Observations,
    handler: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses of all restarts and their gradients, ``[restarts, ...]``."""
    pyro.set_rng_seed(0)
    with handler():
        losses = copy.deepcopy(scheme).restart_losses(model, guide, observations=observations)
    losses.sum().backward()
    return losses.detach(), named_gradients(model, guide)


def exact_gradient(objective: Tensor, model: nn.Module, guide: nn.Module) -> dict[str, Tensor]:
    for parameter in [*model.parameters(), *guide.parameters()]:
        parameter.grad = None
    objective.backward(retain_graph=True)
    return named_gradients(model, guide)


@cache
def enumerated(pair: Pair) -> tuple[Part, Part, Exact]:
    """One restart of a pair, and its exact values."""
    model, guide = pair.model(1), pair.guide(1)
    return model, guide, Exact(model, guide, pair.observations)


def check(
    claim: Claim, value: Tensor, expected: Mapping[str, Tensor], losses: Tensor, samples: Mapping[str, Tensor]
) -> None:
    """Value and gradient of the claim's parts are exact within the threshold, and finite."""
    assert abs(float(z_scores(losses, value))) < Z_THRESHOLD
    assert samples.keys() == expected.keys()
    for name, sample in samples.items():
        assert bool(sample.isfinite().all()), name
        if name.startswith(claim.of):
            assert float(z_scores(sample, expected[name][0]).abs().max()) < Z_THRESHOLD, name


def check_pair(claim: Claim, pair: Pair, exact_pair: Pair | None = None) -> None:
    """Replicates of a pair against the exact values of one restart, of another pair if there is one."""
    model, guide, exact = enumerated(exact_pair or pair)
    expected = exact_gradient(-claim.objective(exact), model, guide)
    found = estimates(claim.scheme, pair.model(REPLICATES), pair.guide(REPLICATES), pair.observations)
    check(claim, -claim.value(exact).detach(), expected, *found)


@pytest.mark.parametrize(("pair", "claim"), fits)
def test_a_scheme_follows_on_a_users_model_what_it_claims_to(pair: Pair, claim: Claim) -> None:
    check_pair(claim, pair)


@pytest.mark.parametrize(("pair", "claim"), fits)
def test_minibatches_average_to_the_full_data(pair: Pair, claim: Claim) -> None:
    """Two minibatches of two data each, which together are all of them."""
    model, guide, exact = enumerated(pair)
    expected = exact_gradient(-claim.objective(exact), model, guide)
    batches = []
    for rows in (torch.tensor([0, 2]), torch.tensor([1, 3])):
        programs = pair.model(REPLICATES, rows), pair.guide(REPLICATES, rows)
        batches.append(estimates(claim.scheme, programs[0], programs[1], pair.observations))
    losses = torch.stack([loss for loss, _ in batches]).mean(0)
    samples = {name: torch.stack([sample[name] for _, sample in batches]).mean(0) for name in expected}
    check(claim, -claim.value(exact).detach(), expected, losses, samples)


@pytest.mark.parametrize(("pair", "claim"), fits)
def test_a_program_without_restarts_is_one_restart(pair: Pair, claim: Claim) -> None:
    losses, gradients = estimates(claim.scheme, pair.model(0), pair.guide(0), pair.observations)
    with_plate, its_gradients = estimates(claim.scheme, pair.model(1), pair.guide(1), pair.observations)
    assert losses.shape == (1,)
    assert torch.allclose(losses, with_plate)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, its_gradients[name]), name


# --- handlers -----------------------------------------------------------------------------------------------------


@every_claim
def test_a_scale_multiplies_value_and_gradient(claim: Claim) -> None:
    plain, gradients = estimates(claim.scheme, Topics(3), Reader(3), TOPICS.observations)
    scaled, its_gradients = estimates(
        claim.scheme, Topics(3), Reader(3), TOPICS.observations, lambda: poutine.scale(scale=7.0)
    )
    assert torch.allclose(scaled, 7 * plain)
    for name, gradient in gradients.items():
        assert torch.allclose(its_gradients[name], 7 * gradient), name


THREE_DATA = Pair(
    lambda restarts: Topics(restarts, None, 3), lambda restarts: Reader(restarts, None, 3), {"x": WORDS[[0, 1, 3]]}
)


@every_claim_without_dreams
def test_a_masked_datum_is_as_good_as_left_out(claim: Claim) -> None:
    model, guide, exact = enumerated(THREE_DATA)
    expected = exact_gradient(-claim.objective(exact), model, guide)
    mask = torch.tensor([True, True, False, True])
    found = estimates(
        claim.scheme, Topics(REPLICATES), Reader(REPLICATES), TOPICS.observations, lambda: poutine.mask(mask=mask)
    )
    check(claim, -claim.value(exact).detach(), expected, *found)


WITHOUT_ONE = torch.where(torch.arange(4) == 1, torch.nan, WORDS)
MISSING = Pair(partial(Topics, missing=True), Reader, {"x": WITHOUT_ONE})
LEFT_AWAY = Pair(partial(Topics, kept=[0, 2, 3]), Reader, {"x": WITHOUT_ONE})


@every_claim
def test_missing_pixels_are_as_good_as_left_out(claim: Claim) -> None:
    """NaN under a mask of the pixels themselves."""
    check_pair(claim, MISSING, LEFT_AWAY)


class Unseen(Part):
    """Two causes of three pixels, of which some data are not seen at all."""

    def __init__(self, *plates: Any, is_seen: Tensor) -> None:
        super().__init__(*plates)
        self.is_seen = is_seen
        self.prior = self.learned(0, 1, 2)
        self.weight = self.learned(1, 2, 3)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            h = pyro.sample("h", dist.Bernoulli(logits=self.prior).to_event(1))
            pixels = dist.Bernoulli(logits=h @ self.weight).to_event(1)
            pyro.sample("x", pixels, obs=observations["x"], obs_mask=self.is_seen)


class Imagining(Part):
    """Its guide, which draws what is not seen."""

    def __init__(self, *plates: Any, is_seen: Tensor) -> None:
        super().__init__(*plates)
        self.is_seen = is_seen
        self.up = self.learned(2, 3, 2)
        self.down = self.learned(3, 2, 3)

    def forward(self, observations: Observations) -> None:
        x = torch.where(self.is_seen[:, None], observations["x"], 0.0)
        with self.plates():
            h = pyro.sample("h", dist.Bernoulli(logits=x @ self.up).to_event(1))
            with poutine.mask(mask=~self.is_seen):
                pyro.sample("x_unobserved", dist.Bernoulli(logits=h @ self.down).to_event(1))


IS_SEEN = torch.tensor([True, False, True, True])
PIXELS = WORDS[:, :3]
PARTLY_SEEN = Pair(
    partial(Unseen, is_seen=IS_SEEN),
    partial(Imagining, is_seen=IS_SEEN),
    {"x": PIXELS.masked_fill(~IS_SEEN[:, None], torch.nan)},
)
ANY_VALUE = Pair(PARTLY_SEEN.model, PARTLY_SEEN.guide, {"x": PIXELS})
"""The same with some value instead of NaN, which Pyro's traces need."""


@every_claim_without_dreams
def test_data_under_an_obs_mask_are_latent(claim: Claim) -> None:
    check_pair(claim, PARTLY_SEEN, ANY_VALUE)


class Ragged(Part):
    """Two causes of four pixels, and a third that is only there to fill the tensor up, or is not there."""

    def __init__(self, *plates: Any, padded: bool) -> None:
        super().__init__(*plates)
        self.padded = padded
        self.prior = self.learned(0, 1, 3)
        self.weight = self.learned(1, 3, 4)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            h = pyro.sample("h", padded(self.prior, self.padded))
            drive = h[..., :2] @ self.weight[..., :2, :]
            pyro.sample("x", dist.Bernoulli(logits=drive).to_event(1), obs=observations["x"])


class RaggedReader(Part):
    """Its guide."""

    def __init__(self, *plates: Any, padded: bool) -> None:
        super().__init__(*plates)
        self.padded = padded
        self.weight = self.learned(2, 4, 3)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            pyro.sample("h", padded(observations["x"] @ self.weight, self.padded))


def padded(logits: Tensor, is_padded: bool) -> dist.TorchDistribution:
    """Three units of which the last is masked, or the other two."""
    if is_padded:
        return dist.Bernoulli(logits=logits).mask(torch.tensor([True, True, False])).to_event(1)
    return dist.Bernoulli(logits=logits[..., :2]).to_event(1)


PADDED, UNPADDED = (
    Pair(partial(Ragged, padded=is_padded), partial(RaggedReader, padded=is_padded), {"x": WORDS})
    for is_padded in (True, False)
)


@pytest.mark.parametrize("claim", [pytest.param(claim, id=name) for name, claim in CLAIMS.items() if not claim.dreams])
def test_latent_units_that_are_masked_are_as_good_as_left_out(claim: Claim) -> None:
    check_pair(claim, PADDED, UNPADDED)


# --- parameters ---------------------------------------------------------------------------------------------------


class TiedReader(Reader):
    """Reads with the weights that the model writes with."""

    def __init__(self, restarts: int, model: Topics) -> None:
        super().__init__(restarts)
        self.log_words = model.log_words

    def forward(self, observations: Observations) -> None:
        with self.plates():
            x = observations["x"]
            topics = pyro.sample("topics", dist.Bernoulli(logits=x @ self.log_words.mT).to_event(1))
            pyro.sample("top", dist.Bernoulli(logits=topics @ self.upper).to_event(1))


@cache
def tied() -> tuple[Topics, TiedReader, Exact]:
    model = Topics(1)
    guide = TiedReader(1, model)
    return model, guide, Exact(model, guide, TOPICS.observations)


@pytest.mark.parametrize(
    "claim", [pytest.param(claim, id=name) for name, claim in CLAIMS.items() if len(claim.of) == 2]
)
def test_a_parameter_of_both_programs_follows_the_sum_of_both_gradients(claim: Claim) -> None:
    model, guide, exact = tied()
    expected = exact_gradient(-claim.objective(exact), model, guide)
    many = Topics(REPLICATES)
    found = estimates(claim.scheme, many, TiedReader(REPLICATES, many), TOPICS.observations)
    check(claim, -claim.value(exact).detach(), expected, *found)


def nested(*layers: nn.Module) -> nn.Module:
    """Layers in turn, as Pyro modules inside one."""
    module = nn.Sequential(*layers).double()
    to_pyro_module_(module)
    return module


class Images(PyroModule):  # type: ignore[misc]
    """Four causes of images of 8 x 8 pixels, painted by a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = nn.Parameter(torch.tensor([0.3, -0.5, 0.0, 0.4]).double())
        layers = nn.Linear(4, 8), nn.Tanh(), nn.Unflatten(-1, (2, 2, 2)), nn.ConvTranspose2d(2, 1, 4, stride=4)
        self.paint = nested(*layers)

    def forward(self, observations: Observations) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-4], dim=-1):
            h = pyro.sample("h", dist.Bernoulli(logits=self.prior).to_event(1))
            drive = self.paint(h.reshape(-1, 4)).reshape(*h.shape[:-1], 1, 8, 8)
            pyro.sample("x", dist.Bernoulli(logits=drive).to_event(3), obs=x)


class ImageReader(PyroModule):  # type: ignore[misc]
    """Its guide, by a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nested(nn.Conv2d(1, 2, 4, stride=4), nn.Tanh(), nn.Flatten(), nn.Linear(8, 4))

    def forward(self, observations: Observations) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-4], dim=-1):
            # a dream has particles and restarts in front of its data
            logits = self.look(x.reshape(-1, 1, 8, 8)).reshape(*x.shape[:-3], 4)
            pyro.sample("h", dist.Bernoulli(logits=logits).to_event(1))


def convolutional() -> tuple[Images, ImageReader, Observations]:
    torch.manual_seed(0)
    x = torch.zeros(3, 1, 8, 8, dtype=torch.float64)
    x[0, :, :4] = x[1, :, :, :4] = x[2, :, 4:, 4:] = 1
    return Images(), ImageReader(), {"x": x}


@every_claim
def test_a_scheme_follows_in_nested_convolutional_modules_what_it_claims_to(claim: Claim) -> None:
    """Without restarts: steps at 40 seeds are the replicates."""
    model, guide, observations = convolutional()
    exact = Exact(model, guide, observations)
    expected = exact_gradient(-claim.objective(exact), model, guide)
    parameters = [*model.parameters(), *guide.parameters()]
    losses, gradients = [], []
    pyro.set_rng_seed(0)
    for _ in range(40):
        loss = copy.deepcopy(claim.scheme).differentiable_loss(model, guide, observations=observations)
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, parameters, allow_unused=True))
    samples = {
        name: torch.stack([torch.zeros(()) if one is None else one for one in every])
        for name, every in zip(expected, zip(*gradients, strict=True), strict=True)
    }
    check(
        claim,
        -claim.value(exact).detach(),
        {name: value[None] for name, value in expected.items()},
        torch.stack(losses),
        samples,
    )


@every_claim
def test_a_scheme_trains_nested_convolutional_modules(claim: Claim) -> None:
    model, guide, observations = convolutional()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), loss=copy.deepcopy(claim.scheme))
    pyro.set_rng_seed(0)
    losses = [svi.step(observations=observations) for _ in range(25)]
    assert sum(losses[-5:]) < 0.96 * sum(losses[:5])


# --- the chain ----------------------------------------------------------------------------------------------------


def test_exact_em_is_the_forward_algorithm() -> None:
    model = Chain(1)
    losses, gradients = estimates(ExactEM(), model, Filter(1), PAIRS["chain"].observations)
    evidence = model.log_evidence(SERIES).sum()
    assert torch.allclose(-losses, evidence)
    its = exact_gradient(-evidence, model, Filter(1))
    for name, parameter in model.named_parameters():
        assert torch.allclose(gradients[f"model.{name}"], its[f"model.{name}"]), name
        assert parameter.grad is not None


def test_bounds_of_the_chain_rise_towards_the_forward_algorithm() -> None:
    values = [
        float(-estimates(scheme, Chain(100), Filter(100), PAIRS["chain"].observations)[0].mean())
        for scheme in (Reinforce(5), VIMCO(5), ReweightedWakeSleep(50), ReweightedWakeSleep(1000))
    ]
    evidence = float(Chain(1).log_evidence(SERIES).sum().detach())
    assert values == sorted(values)
    assert values[0] < evidence - 0.5
    assert evidence - 0.1 < values[-1] < evidence


def test_gibbs_follows_the_forward_algorithm_in_the_chain() -> None:
    model = Chain(1)
    expected = exact_gradient(-model.log_evidence(SERIES).sum(), model, Filter(1))
    chains = Chain(REPLICATES)
    pyro.set_rng_seed(0)
    Gibbs(1, num_sweeps=15).restart_losses(chains, None, observations=PAIRS["chain"].observations).sum().backward()
    for name, parameter in chains.named_parameters():
        assert parameter.grad is not None
        assert float(z_scores(parameter.grad, expected[f"model.{name}"][0]).abs().max()) < Z_THRESHOLD, name


# --- a latent that all data share ---------------------------------------------------------------------------------


class Season(Part):
    """A coin or a normal number that all data share, and a coin behind each datum."""

    def __init__(self, *plates: Any, continuous: bool = False) -> None:
        super().__init__(*plates)
        self.continuous = continuous
        self.prior = self.learned(0, 1)
        self.local = self.learned(1, 1)
        self.loc = self.learned(2, 2)
        self.effect = self.learned(3, 1)

    def forward(self, observations: Observations) -> None:
        with pyro.plate("restarts", self.restarts, dim=-2):
            g = pyro.sample("g", self.of_all())
            with self.data_plate():
                z = pyro.sample("z", dist.Bernoulli(logits=self.local + g))
                loc = torch.where(z == 1, self.loc[:, 1:], self.loc[:, :1])
                pyro.sample("x", dist.Normal(loc + self.effect * g, 1.0), obs=self.seen(observations["x"], 0))

    def of_all(self) -> dist.TorchDistribution:
        return dist.Normal(self.prior, 1.0) if self.continuous else dist.Bernoulli(logits=self.prior)


class SeasonReader(Part):
    """Its guide."""

    def __init__(self, *plates: Any, continuous: bool = False) -> None:
        super().__init__(*plates)
        self.continuous = continuous
        self.at = self.learned(4, 1)
        self.log_scale = self.learned(5, 1)
        self.weight = self.learned(6, 3)

    def forward(self, observations: Observations) -> None:
        with pyro.plate("restarts", self.restarts, dim=-2):
            g = pyro.sample("g", self.of_all())
            with self.data_plate():
                x = self.seen(observations["x"], 0)
                logits = self.weight[:, :1] + self.weight[:, 1:2] * x + self.weight[:, 2:] * g
                pyro.sample("z", dist.Bernoulli(logits=logits))

    def of_all(self) -> dist.TorchDistribution:
        return dist.Normal(self.at, self.log_scale.exp()) if self.continuous else dist.Bernoulli(logits=self.at)


SEASONAL = torch.tensor([0.3, -1.2, 0.9, 2.0], dtype=torch.float64)


def seasonal_elbo(model: Season, guide: SeasonReader, x: Tensor) -> Tensor:
    """The bound of one restart, with the sum over both coins written out, or quadrature for the normal number."""
    if model.continuous:
        nodes, weights = (torch.as_tensor(column) for column in hermegauss(40))
        g, chance = guide.at[0] + guide.log_scale[0].exp() * nodes, weights / math.sqrt(2 * math.pi)
    else:
        g = torch.tensor([0.0, 1.0], dtype=torch.float64)
        chance = guide.of_all().log_prob(g)[0].exp()
    total = model.of_all().log_prob(g)[0] - guide.of_all().log_prob(g)[0]
    for z in (0, 1):
        sign = 2 * z - 1
        log_q = nn.functional.logsigmoid(
            sign * (guide.weight[0, 0] + guide.weight[0, 1] * x[:, None] + guide.weight[0, 2] * g)
        )
        log_p = nn.functional.logsigmoid(sign * (model.local[0] + g))
        log_p = log_p + dist.Normal(model.loc[0, z] + model.effect[0] * g, 1.0).log_prob(x[:, None])
        total = total + (log_q.exp() * (log_p - log_q)).sum(0)
    bound: Tensor = (chance * total).sum()
    return bound


@pytest.mark.parametrize("batches", [[None], [[0, 2], [1, 3]]], ids=["full data", "minibatches"])
@pytest.mark.parametrize("continuous", [False, True], ids=["coin", "normal"])
@pytest.mark.parametrize(
    "claim", [pytest.param(claim, id=name) for name, claim in CLAIMS.items() if claim.takes_shared]
)
def test_a_latent_of_all_data_is_followed(claim: Claim, continuous: bool, batches: list[list[int] | None]) -> None:
    model, guide = Season(1, continuous=continuous), SeasonReader(1, continuous=continuous)
    bound = seasonal_elbo(model, guide, SEASONAL)
    expected = exact_gradient(-bound, model, guide)
    found = []
    for rows in batches:
        plates = (REPLICATES, None if rows is None else torch.tensor(rows))
        programs = Season(*plates, continuous=continuous), SeasonReader(*plates, continuous=continuous)
        found.append(estimates(claim.scheme, programs[0], programs[1], {"x": SEASONAL}))
    losses = torch.stack([loss for loss, _ in found]).mean(0)
    samples = {name: torch.stack([sample[name] for _, sample in found]).mean(0) for name in expected}
    check(claim, -bound.detach(), expected, losses, samples)


@pytest.mark.parametrize("rows", [None, torch.tensor([1, 3])], ids=["full data", "minibatch"])
def test_a_sleep_phase_teaches_the_guide_the_prior_of_what_all_data_share(rows: Tensor | None) -> None:
    """Once, and not for every datum."""
    model, guide = Season(REPLICATES, rows), SeasonReader(REPLICATES, rows)
    _, samples = estimates(WakeSleep(2), model, guide, {"x": SEASONAL})
    expected = torch.sigmoid(guide.at[0]) - torch.sigmoid(model.prior[0])
    assert float(z_scores(samples["guide.at"], expected.detach()).abs().max()) < Z_THRESHOLD


@pytest.mark.parametrize(
    "claim", [pytest.param(claim, id=name) for name, claim in CLAIMS.items() if not claim.takes_shared]
)
def test_a_latent_of_all_data_is_refused_where_it_has_no_weight_per_datum(claim: Claim) -> None:
    with pytest.raises(ValueError, match=r"site 'g' is outside the data plate .* move it into the plate"):
        estimates(claim.scheme, Season(1), SeasonReader(1), {"x": SEASONAL})


class Household(Part):
    """A coin g outside the plate at dim=-2, coins h of three rows in it, and x outside that all of them cause."""

    def __init__(self) -> None:
        super().__init__(0, size=2)
        self.prior = self.learned(0, 1)
        self.local = self.learned(1, 1)
        self.weight = self.learned(2, 3, 2)

    def forward(self, observations: Observations) -> None:
        g = pyro.sample("g", dist.Bernoulli(logits=self.prior[0, 0]))
        with self.data_plate():
            with pyro.plate("rows", 3, dim=-2):
                h = pyro.sample("h", dist.Bernoulli(logits=self.local[0, 0] + g))
            # [..., rows, data] to [..., 1, data, rows]
            drive = h.movedim(-2, -1)[..., None, :, :] @ self.weight[0]
            pyro.sample("x", dist.Bernoulli(logits=drive).to_event(1), obs=observations["x"])


class HouseholdReader(Part):
    """Its guide."""

    def __init__(self) -> None:
        super().__init__(0, size=2)
        self.at = self.learned(3, 1)
        self.logits = self.learned(4, 3, 1)

    def forward(self, observations: Observations) -> None:
        g = pyro.sample("g", dist.Bernoulli(logits=self.at[0, 0]))
        with pyro.plate("rows", 3, dim=-2), self.data_plate():
            pyro.sample("h", dist.Bernoulli(logits=self.logits[0] + g))


def household_elbo(model: Household, guide: HouseholdReader, x: Tensor) -> Tensor:
    """The bound, by enumeration."""
    total = torch.zeros(())
    for g in torch.tensor([0.0, 1.0], dtype=torch.float64):
        log_q_g = dist.Bernoulli(logits=guide.at[0, 0]).log_prob(g)
        inner = dist.Bernoulli(logits=model.prior[0, 0]).log_prob(g) - log_q_g
        for state in itertools.product((0.0, 1.0), repeat=3):
            h = torch.tensor(state, dtype=torch.float64)
            log_q = dist.Bernoulli(logits=guide.logits[0, :, 0] + g).log_prob(h).sum()
            log_p = dist.Bernoulli(logits=model.local[0, 0] + g).log_prob(h).sum()
            log_x = dist.Bernoulli(logits=h @ model.weight[0]).log_prob(x).sum(-1)
            inner = inner + (log_q.exp() * (log_p - log_q + log_x)).sum()
        total = total + log_q_g.exp() * inner
    return total


@pytest.mark.parametrize("scheme", [Reinforce(1), Reinforce(3), NVIL(1, normalise=False, hidden_units=4), DisARM(2)])
def test_what_is_outside_the_plate_of_restarts_counts_once(scheme: Scheme) -> None:
    """As for Pyro's own estimators; steps at 250 seeds are the replicates."""
    x = WORDS[:2, :2]
    model, guide = Household(), HouseholdReader()
    bound = household_elbo(model, guide, x)
    expected = exact_gradient(-bound, model, guide)
    parameters = [*model.parameters(), *guide.parameters()]
    losses, gradients = [], []
    scheme = copy.deepcopy(scheme)
    pyro.set_rng_seed(0)
    for _ in range(250):
        loss = scheme.differentiable_loss(model, guide, observations={"x": x})
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, parameters))
    samples = {name: torch.stack(every) for name, every in zip(expected, zip(*gradients, strict=True), strict=True)}
    claim = Claim(scheme, elbo, elbo)
    check(claim, -bound.detach(), {name: value[None] for name, value in expected.items()}, torch.stack(losses), samples)


def test_what_is_outside_the_plate_of_restarts_has_no_weight_in_each() -> None:
    def model(observations: Observations) -> None:
        with pyro.plate("data", 2, dim=-1):
            with pyro.plate("rows", 3, dim=-2):
                h = pyro.sample("h", dist.Bernoulli(torch.tensor(0.5)))
            pyro.sample("x", dist.Normal(h.sum(-2, keepdim=True), 1.0), obs=torch.zeros(2))

    def guide(observations: Observations) -> None:
        with pyro.plate("rows", 3, dim=-2), pyro.plate("data", 2, dim=-1):
            pyro.sample("h", dist.Bernoulli(torch.tensor(0.5)))

    with pytest.raises(ValueError, match="site 'h' is in plate 'rows' at dim=-2 and site 'x' in no plate there"):
        VIMCO(2).loss(model, guide, observations={})


# --- continuous and discrete latents in turn ----------------------------------------------------------------------


class Sandwich(Part):
    """Coin c, then z | c normal, then coin d | z, and x normal around z + d."""

    def __init__(self, *plates: Any) -> None:
        super().__init__(*plates)
        self.prior = self.learned(0, 1)
        self.loc = self.learned(1, 2)
        self.slope = self.learned(2, 1)

    def forward(self, observations: Observations) -> None:
        with self.plates():
            c = pyro.sample("c", dist.Bernoulli(logits=self.prior))
            z = pyro.sample("z", dist.Normal(torch.where(c == 1, self.loc[:, 1:], self.loc[:, :1]), 1.0))
            d = pyro.sample("d", dist.Bernoulli(logits=self.slope * z))
            pyro.sample("x", dist.Normal(z + d, 1.0), obs=observations["x"])


class SandwichReader(Part):
    """Its guide, in the same order."""

    def __init__(self, *plates: Any) -> None:
        super().__init__(*plates)
        self.first = self.learned(3, 2)
        self.second = self.learned(4, 3)
        self.log_scale = self.learned(5, 1)
        self.third = self.learned(6, 3)

    def forward(self, observations: Observations) -> None:
        x = observations["x"]
        with self.plates():
            c = pyro.sample("c", dist.Bernoulli(logits=self.first[:, :1] + self.first[:, 1:] * x))
            loc = self.second[:, :1] + self.second[:, 1:2] * x + self.second[:, 2:] * c
            z = pyro.sample("z", dist.Normal(loc, self.log_scale.exp()))
            logits = self.third[:, :1] + self.third[:, 1:2] * z + self.third[:, 2:] * c
            pyro.sample("d", dist.Bernoulli(logits=logits))


def sandwich_elbo(model: Sandwich, guide: SandwichReader, x: Tensor) -> Tensor:
    """The bound of one restart with the sum over coins written out and quadrature over z, ``[nodes, data]``."""
    nodes, weights = (torch.as_tensor(column)[:, None] for column in hermegauss(40))
    total = torch.zeros(())
    for c, d in itertools.product((0, 1), repeat=2):
        log_q_c = nn.functional.logsigmoid((2 * c - 1) * (guide.first[0, 0] + guide.first[0, 1] * x))
        q_z = dist.Normal(
            guide.second[0, 0] + guide.second[0, 1] * x + guide.second[0, 2] * c, guide.log_scale[0].exp()
        )
        z = q_z.loc + q_z.scale * nodes
        log_q_d = nn.functional.logsigmoid(
            (2 * d - 1) * (guide.third[0, 0] + guide.third[0, 1] * z + guide.third[0, 2] * c)
        )
        log_p = nn.functional.logsigmoid((2 * c - 1) * model.prior[0]) + dist.Normal(model.loc[0, c], 1.0).log_prob(z)
        log_p = log_p + nn.functional.logsigmoid((2 * d - 1) * model.slope[0] * z)
        log_p = log_p + dist.Normal(z + d, 1.0).log_prob(x)
        log_q = log_q_c + q_z.log_prob(z) + log_q_d
        total = total + (weights / math.sqrt(2 * math.pi) * (log_q_c + log_q_d).exp() * (log_p - log_q)).sum()
    return total


@pytest.mark.parametrize(
    "claim", [pytest.param(claim, id=name) for name, claim in CLAIMS.items() if claim.objective is elbo]
)
def test_discrete_latents_around_a_continuous_one_are_followed(claim: Claim) -> None:
    model, guide = Sandwich(1), SandwichReader(1)
    bound = sandwich_elbo(model, guide, SEASONAL)
    expected = exact_gradient(-bound, model, guide)
    found = estimates(claim.scheme, Sandwich(REPLICATES), SandwichReader(REPLICATES), {"x": SEASONAL})
    check(claim, -bound.detach(), expected, *found)


# --- what is refused ----------------------------------------------------------------------------------------------


def with_latent(make: Callable[[], dist.TorchDistribution]) -> Program:
    """A model with one latent of a kind, ``h``, behind two data; it is its own guide."""

    def program(observations: Observations) -> None:
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("h", make())
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(2))

    return program


def category() -> dist.TorchDistribution:
    return dist.Categorical(torch.ones(3))


def normal() -> dist.TorchDistribution:
    return dist.Normal(0.0, 1.0)


@pytest.mark.parametrize(
    ("scheme", "make", "error", "sentence"),
    [
        (DisARM(1), category, ValueError, "site 'h' of the guide is a Categorical.* use Reinforce, NVIL or VIMCO"),
        (Relaxed(1), category, ValueError, "site 'h' of the guide is a Categorical.* make it Bernoulli or OneHot"),
        (ExactEM(), normal, TypeError, "site 'h' is a Normal; use a scheme that samples, such as Reinforce"),
        (Gibbs(1), normal, TypeError, "site 'h' is a Normal; use Reinforce or another scheme that samples"),
        (ReweightedWakeSleep(2, defensive=0.1), normal, ValueError, "site 'h' of the guide is a Normal.* defensive=0"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_latent_that_a_scheme_has_no_moves_for_is_refused_with_the_remedy(
    scheme: Scheme, make: Callable[[], dist.TorchDistribution], error: type[Exception], sentence: str
) -> None:
    program = with_latent(make)
    with pytest.raises(error, match=sentence):
        scheme.loss(program, program, observations={})


@every_claim
def test_a_sequential_plate_is_refused_with_the_remedy(claim: Claim) -> None:
    def program(observations: Observations) -> None:
        for row in pyro.plate("rows", 2):
            pyro.sample(f"h{row}", dist.Bernoulli(0.5))

    with pytest.raises(ValueError, match="site 'h0' is in the sequential plate 'rows'; give the plate a dim"):
        claim.scheme.loss(program, program, observations={})


@every_claim
def test_two_plates_in_the_place_of_the_data_are_refused_with_the_remedy(claim: Claim) -> None:
    def program(observations: Observations) -> None:
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("h", dist.Bernoulli(0.5))
        with pyro.plate("pixels", 3, dim=-1):
            pyro.sample("g", dist.Bernoulli(0.5))

    sentence = r"site 'h' is in plate 'data' at dim=-1 and site 'g' in plate 'pixels' at dim=-1; .*to_event\(\)"
    with pytest.raises(ValueError, match=sentence):
        claim.scheme.loss(program, program, observations={})
