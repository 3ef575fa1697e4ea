"""Training loops as one would write them by hand, in plain torch, for one sigmoid belief network.

Written from the equations of the papers, without Pyro and without any code of the schemes. Each loss takes a net, a
batch ``x [data, units]`` and a number of particles; its gradient is the scheme's, its value means nothing. Several
restarts train at once in a leading dimension: weights are ``[restarts, from, to]``, hidden layers
``[particles, restarts, data, units]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor
from torch.nn.functional import softplus

from analysis.benchmarks.setting import parameter_lists
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

BATCH_SIZE = 100


@dataclass
class Net:
    """Parameters of both halves; ``down[l]`` makes layer l of layer l + 1, ``up[l]`` layer l + 1 of layer l."""

    down: list[Tensor]
    down_bias: list[Tensor]
    up: list[Tensor]
    up_bias: list[Tensor]

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.down, *self.down_bias, *self.up, *self.up_bias]

    def generative_logits(self, level: int, above: Tensor) -> Tensor:
        return above @ self.down[level] + self.down_bias[level]

    def recognition_logits(self, level: int, below: Tensor) -> Tensor:
        return below @ self.up[level] + self.up_bias[level]


Loss = Callable[[Net, Tensor, int], Tensor]


def net_of(model: BeliefNetwork, guide: FactorialRecognition) -> Net:
    """A net that starts where the two are."""
    return Net(*([p.detach().clone().requires_grad_() for p in part] for part in parameter_lists(model, guide)))


@torch.no_grad()
def write_into(net: Net, model: BeliefNetwork, guide: FactorialRecognition) -> None:
    """Give the two the parameters of a net."""
    theirs = (net.down, net.down_bias, net.up, net.up_bias)
    for part, values in zip(parameter_lists(model, guide), theirs, strict=True):
        for parameter, value in zip(part, values, strict=True):
            parameter.copy_(value)


def train(net: Net, loss: Loss, data: Tensor, *, particles: int, learning_rate: float, seed: int) -> None:
    """One pass over the data, a step for each minibatch."""
    optimiser = torch.optim.Adam(net.parameters, lr=learning_rate)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for rows in torch.randperm(len(data)).split(BATCH_SIZE):
            optimiser.zero_grad()
            loss(net, data[rows], particles).backward()
            optimiser.step()


def bernoulli_log_prob(values: Tensor, logits: Tensor) -> Tensor:
    return (values * logits - softplus(logits)).sum(-1)


def recognise(net: Net, x: Tensor, particles: int) -> list[Tensor]:
    """h ~ q(h | x), bottom to top."""
    first = net.recognition_logits(0, x).detach()
    hidden = [torch.bernoulli(torch.sigmoid(first.expand(particles, *first.shape)))]
    return hidden + recognise_above(net, hidden)


@torch.no_grad()
def recognise_above(net: Net, hidden: list[Tensor]) -> list[Tensor]:
    """The layers that are still missing above these, drawn from q."""
    above, below = [], hidden[-1]
    for level in range(len(hidden), len(net.up)):
        below = torch.bernoulli(torch.sigmoid(net.recognition_logits(level, below)))
        above.append(below)
    return above


@torch.no_grad()
def dream(net: Net, shape: tuple[int, ...]) -> list[Tensor]:
    """x, h1, ..., hL ~ p."""
    layers = [torch.bernoulli(torch.sigmoid(net.down_bias[-1].expand(*shape, -1)))]
    for level in reversed(range(len(net.down))):
        layers.insert(0, torch.bernoulli(torch.sigmoid(net.generative_logits(level, layers[0]))))
    return layers


def log_p_terms(net: Net, x: Tensor, hidden: list[Tensor]) -> list[Tensor]:
    """log p(x | h1), log p(h1 | h2), ..., log p(hL)."""
    terms = [
        bernoulli_log_prob(below, net.generative_logits(level, above))
        for level, (below, above) in enumerate(pairwise([x, *hidden]))
    ]
    return [*terms, bernoulli_log_prob(hidden[-1], net.down_bias[-1])]


def log_q_terms(net: Net, x: Tensor, hidden: list[Tensor]) -> list[Tensor]:
    """log q(h1 | x), log q(h2 | h1), ..."""
    return [
        bernoulli_log_prob(above, net.recognition_logits(level, below))
        for level, (below, above) in enumerate(pairwise([x, *hidden]))
    ]


def log_p_and_q(net: Net, x: Tensor, hidden: list[Tensor]) -> tuple[Tensor, Tensor]:
    return torch.stack(log_p_terms(net, x, hidden)).sum(0), torch.stack(log_q_terms(net, x, hidden)).sum(0)


def mean_over_data(per_datum: Tensor) -> Tensor:
    """Restarts are independent, so that their sum gives each its own gradient."""
    return per_datum.mean(-1).sum()


def reinforce(net: Net, x: Tensor, particles: int) -> Tensor:
    """Score function with the mean of the other particles as baseline (Mnih & Rezende 2016; Kool et al. 2019)."""
    log_p, log_q = log_p_and_q(net, x, recognise(net, x, particles))
    reward = (log_p - log_q).detach()
    baseline = (reward.sum(0) - reward) / (particles - 1)
    return -mean_over_data((log_p + (reward - baseline) * log_q).mean(0))


class NVIL:
    """Mnih & Gregor 2014, algorithm 1, with local signals (2.4) and a baseline for each layer (2.3)."""

    def __init__(self, hidden_units: int = 100, learning_rate: float = 1e-3, decay: float = 0.8) -> None:
        self.hidden_units, self.learning_rate, self.decay = hidden_units, learning_rate, decay
        self.baselines: list[list[Tensor]] = []
        self.statistics: list[tuple[Tensor, Tensor]] = []

    def __call__(self, net: Net, x: Tensor, particles: int) -> Tensor:
        if not self.baselines:
            self.baselines = [self.new_baseline(weight) for weight in net.up]
            self.optimiser = torch.optim.Adam([p for part in self.baselines for p in part], lr=self.learning_rate)
        hidden = recognise(net, x, particles)
        of_p, of_q = log_p_terms(net, x, hidden), log_q_terms(net, x, hidden)
        surrogate = torch.stack(of_p).sum(0)
        errors, statistics = [], []
        for level, below in enumerate([x, *hidden[:-1]]):
            signal = torch.stack(of_p[level:]).sum(0) - torch.stack(of_q[level:]).sum(0)
            into, shift, out, offset = self.baselines[level]
            prediction = (torch.tanh(below @ into + shift) @ out + offset).squeeze(-1)
            left = (signal - prediction).detach()
            mean, variance = left.mean((0, -1)), left.var((0, -1))
            if self.statistics:
                old_mean, old_variance = self.statistics[level]
                mean = self.decay * old_mean + (1 - self.decay) * mean
                variance = self.decay * old_variance + (1 - self.decay) * variance
            statistics.append((mean, variance))
            centred = (left - mean[:, None]) / variance.sqrt().clamp(min=1)[:, None]
            surrogate = surrogate + centred * of_q[level]
            errors.append((signal.detach() - prediction - mean[:, None]).square().mean((0, -1)).sum())
        self.statistics = statistics
        self.optimiser.zero_grad()
        torch.stack(errors).sum().backward()
        self.optimiser.step()
        return -mean_over_data(surrogate.mean(0))

    def new_baseline(self, weight: Tensor) -> list[Tensor]:
        restarts, inputs, _ = weight.shape
        into = torch.randn(restarts, inputs, self.hidden_units) / inputs**0.5
        rest = [(1, self.hidden_units), (self.hidden_units, 1), (1, 1)]
        return [p.requires_grad_() for p in (into, *(torch.zeros(restarts, *shape) for shape in rest))]


def disarm(net: Net, x: Tensor, particles: int) -> Tensor:
    """Dong, Mnih & Tucker 2020, equation 7, a layer at a time with those above drawn anew from the partner."""
    hidden: list[Tensor] = []
    logits, partners = [], []
    for level in range(len(net.up)):
        of_level = net.recognition_logits(level, hidden[-1] if hidden else x)
        of_level = of_level if hidden else of_level.expand(particles, *of_level.shape)
        uniform = torch.rand_like(of_level)
        probability = torch.sigmoid(of_level.detach())
        hidden.append((uniform < probability).float())
        partners.append((1 - uniform < probability).float())
        logits.append(of_level)
    log_p, log_q = log_p_and_q(net, x, hidden)
    surrogate = log_p
    for level, (value, partner) in enumerate(zip(hidden, partners, strict=True)):
        with torch.no_grad():
            other = [*hidden[:level], partner]
            other_p, other_q = log_p_and_q(net, x, other + recognise_above(net, other))
            difference = (log_p - log_q) - (other_p - other_q)
            direction = (1 - 2 * partner) * (value != partner) * torch.sigmoid(logits[level].abs())
        surrogate = surrogate + difference / 2 * (direction * logits[level]).sum(-1)
    return -mean_over_data(surrogate.mean(0))


def vimco(net: Net, x: Tensor, particles: int) -> Tensor:
    """Mnih & Rezende 2016, equations 8 to 11, with the geometric mean of the others in a particle's place."""
    log_p, log_q = log_p_and_q(net, x, recognise(net, x, particles))
    log_w = (log_p - log_q).detach()
    bound = log_w.logsumexp(0)
    surrogate = (log_w.softmax(0) * (log_p - log_q)).sum(0)
    for k in range(particles):
        others = torch.cat([log_w[:k], log_w[k + 1 :]])
        without = torch.cat([others, others.mean(0, keepdim=True)]).logsumexp(0)
        surrogate = surrogate + (bound - without) * log_q[k]
    return -mean_over_data(surrogate)


def tvo(net: Net, x: Tensor, particles: int) -> Tensor:
    """Masrani, Le & Wood 2019, equations 8 and 11: lower sum over 0, 0.1, ..., 1, five intervals."""
    log_p, log_q = log_p_and_q(net, x, recognise(net, x, particles))
    log_w = log_p - log_q
    points = [0.0, *torch.logspace(-1, 0, 5).tolist()]
    objective = torch.zeros(())
    for beta, following in pairwise(points):
        weight = (beta * log_w.detach()).softmax(0)
        path = beta * log_p + (1 - beta) * log_q
        reward = log_w.detach()
        covariance = (weight * (reward - (weight * reward).sum(0)) * (path - (weight * path).sum(0))).sum(0)
        unbiased = particles / (particles - 1)
        objective = objective + (following - beta) * ((weight * log_w).sum(0) + unbiased * covariance)
    return -mean_over_data(objective)


def wake_sleep(net: Net, x: Tensor, particles: int) -> Tensor:
    """Hinton, Dayan, Frey & Neal 1995: as many dreams as recognised data."""
    log_p = torch.stack(log_p_terms(net, x, recognise(net, x, particles))).sum(0)
    fantasy, *causes = dream(net, (particles, len(net.up[0]), len(x)))
    log_q = torch.stack(log_q_terms(net, fantasy, causes)).sum(0)
    return -mean_over_data(log_p.mean(0) + log_q.mean(0))


def reweighted_wake_sleep(net: Net, x: Tensor, particles: int) -> Tensor:
    """Bornschein & Bengio 2015, equations 4 and 7: wake-theta and wake-phi."""
    log_p, log_q = log_p_and_q(net, x, recognise(net, x, particles))
    weight = (log_p - log_q).detach().softmax(0)
    return -mean_over_data((weight * (log_p + log_q)).sum(0))


class Gibbs:
    """Neal 1992: a chain for each pattern, one sweep a step, bottom to top; the guide learns the same states."""

    def __init__(self) -> None:
        self.chains: dict[bytes, list[Tensor]] = {}

    def __call__(self, net: Net, x: Tensor, particles: int) -> Tensor:
        fresh = recognise(net, x, particles)
        keys = [row.numpy().tobytes() for row in x]
        starts = [self.chains.get(key, [layer[:, :, i] for layer in fresh]) for i, key in enumerate(keys)]
        hidden = [torch.stack(layer, dim=2) for layer in zip(*starts, strict=True)]
        self.sweep(net, x, hidden)
        for i, key in enumerate(keys):
            self.chains[key] = [layer[:, :, i].clone() for layer in hidden]
        log_p, log_q = log_p_and_q(net, x, hidden)
        return -mean_over_data((log_p + log_q).mean(0))

    @torch.no_grad()
    def sweep(self, net: Net, x: Tensor, hidden: list[Tensor]) -> None:
        for level, layer in enumerate(hidden):
            below = x if level == 0 else hidden[level - 1]
            is_top = level + 1 == len(hidden)
            from_above = net.down_bias[-1] if is_top else net.generative_logits(level + 1, hidden[level + 1])
            drive = net.generative_logits(level, layer)
            for unit in range(layer.shape[-1]):
                weight = net.down[level][:, unit, None, :]
                off = drive - layer[..., unit, None] * weight
                on = off + weight
                logit = from_above[..., unit] + bernoulli_log_prob(below, on) - bernoulli_log_prob(below, off)
                layer[..., unit] = torch.bernoulli(torch.sigmoid(logit))
                drive = off + layer[..., unit, None] * weight


def exact_em(net: Net, x: Tensor, particles: int) -> Tensor:
    """Log p(x) and the posterior by summing over every joint state; particles are not used."""
    widths = [weight.shape[-1] for weight in net.up]
    joint = torch.tensor(list(product((0.0, 1.0), repeat=sum(widths))))
    states = list(joint.split(widths, dim=-1))  # [states, units]
    drive, first = net.generative_logits(0, states[0]), net.recognition_logits(0, x)
    of_x = x @ drive.mT - softplus(drive).sum(-1)[:, None]  # [restarts, data, states]
    of_first = first @ states[0].T - softplus(first).sum(-1, keepdim=True)
    log_p = of_x + torch.stack(
        [bernoulli_log_prob(states[-1], net.down_bias[-1])]
        + [
            bernoulli_log_prob(below, net.generative_logits(level, above))
            for level, (below, above) in enumerate(pairwise(states), start=1)
        ]
    ).sum(0).unsqueeze(1)
    log_q = of_first
    for level, (below, above) in enumerate(pairwise(states), start=1):
        log_q = log_q + bernoulli_log_prob(above, net.recognition_logits(level, below)).unsqueeze(1)
    posterior = log_p.detach().softmax(-1)
    return -mean_over_data(log_p.logsumexp(-1) + (posterior * log_q).sum(-1))


def relaxed(net: Net, x: Tensor, particles: int, temperature: float = 0.5) -> Tensor:
    """Maddison, Mnih & Teh 2017; Jang, Gu & Poole 2017: straight-through concrete draws, the ELBO through them."""
    hidden: list[Tensor] = []
    for level in range(len(net.up)):
        logits = net.recognition_logits(level, hidden[-1] if hidden else x)
        logits = logits if hidden else logits.expand(particles, *logits.shape)
        soft = torch.sigmoid((logits + torch.logit(torch.rand_like(logits), eps=1e-7)) / temperature)
        hidden.append((soft > 0.5).float() + soft - soft.detach())
    log_p, log_q = log_p_and_q(net, x, hidden)
    return -mean_over_data((log_p - log_q).mean(0))


LOSSES: dict[str, Callable[[], Loss]] = {
    "reinforce": lambda: reinforce,
    "nvil": NVIL,
    "disarm": lambda: disarm,
    "vimco": lambda: vimco,
    "tvo": lambda: tvo,
    "wake_sleep": lambda: wake_sleep,
    "reweighted_wake_sleep": lambda: reweighted_wake_sleep,
    "gibbs": Gibbs,
    "exact_em": lambda: exact_em,
    "relaxed": lambda: relaxed,
}
"""Makes the loss of a training run, with no memory of an earlier one."""
