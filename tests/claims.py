"""What each scheme follows, by enumeration, and the one check of it; a new scheme is one line in CLAIMS."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_helm.programs.particles import Program
from pyro_helm.schemes import (
    NVIL,
    TVO,
    VIMCO,
    DisARM,
    ExactEM,
    Gibbs,
    JointStochasticApproximation,
    MemoisedWakeSleep,
    Reinforce,
    Relaxed,
    ReweightedWakeSleep,
    Scheme,
    WakeSleep,
)
from tests.checker import Z_THRESHOLD, named_gradients, z_scores
from tests.own_models import Observations, Pair, Part

LEFT_OUT = -1e30
"""Log-probability of a state that doesn't count; minus infinity would make differences of two no number."""

REPLICATES = 1500


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

    @property
    def remembered(self) -> Tensor:
        """E of the log of the sum of p(x, h) over two draws that differ, with draws held fixed."""
        log_p, _, chance = self._pairs(self.log_q)
        return _expected(chance.detach(), _of_those_that_differ(log_p).logsumexp(-1))

    @property
    def replayed(self) -> Tensor:
        """E of ``remembered`` and of log q(h | x), weighted by p(x, h), with draws and weights held fixed."""
        log_p, log_q, chance = self._pairs(self.log_q)
        weight = _of_those_that_differ(log_p).softmax(-1).detach()
        return self.remembered + _expected(chance.detach(), (weight * log_q).sum(-1))

    @property
    def after_one_move(self) -> Tensor:
        """E[log p(x, h) + log q(h | x)] of a draw that was proposed another, to be taken or not."""
        log_p, log_q, chance = self._pairs(self.log_q)
        begins, proposed = (log_p - log_q).detach().unbind(-1)
        accepted = (proposed - begins).clamp(max=0).exp()
        return _expected(chance.detach(), (torch.stack([1 - accepted, accepted], -1) * (log_p + log_q)).sum(-1))

    def _pairs(self, log_proposal: Tensor, log_q: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        states = torch.arange(self.log_p.shape[-1])
        pair = torch.cartesian_prod(states, states)
        return self.log_p[:, pair], (self.log_q if log_q is None else log_q)[:, pair], log_proposal[:, pair].sum(-1)


def _expected(log_chance: Tensor, value: Tensor) -> Tensor:
    return (log_chance.exp() * value).sum()


def _of_those_that_differ(log_p: Tensor) -> Tensor:
    """Of all pairs ``[..., pairs, 2]``, the second of the same state twice counts for nothing."""
    same = torch.eye(math.isqrt(log_p.shape[-2]), dtype=torch.bool).flatten()
    return torch.stack([log_p[..., 0], torch.where(same, LEFT_OUT, log_p[..., 1])], -1)


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


def remembered(exact: Exact) -> Tensor:
    return exact.remembered


def replayed(exact: Exact) -> Tensor:
    return exact.replayed


def after_one_move(exact: Exact) -> Tensor:
    return exact.after_one_move


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
    "memoised_wake_sleep": Claim(MemoisedWakeSleep(2, memory_size=2), remembered, replayed),
    "joint_stochastic_approximation": Claim(JointStochasticApproximation(1), elbo, after_one_move),
    "exact_em": Claim(ExactEM(), evidence, evidence_and_wake),
}

every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
every_claim_without_dreams = pytest.mark.parametrize(
    "claim", [pytest.param(claim, id=name) for name, claim in CLAIMS.items() if not claim.dreams]
)


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
