"""Training steps as one would write them in PyTorch for this one machine, without Pyro and without our library.

Each loss has the gradient of its scheme; its value means nothing. Hidden layers are ``[particles, data, units]``,
weights ``[to, from]``, as those of ``torch.nn.Linear``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

from analysis.benchmarks.setting import (
    LEARNING_RATE,
    Setting,
    Trainer,
    Weights,
    as_they_are,
    data,
    programs,
    transposed,
    weights_of,
)


def start(setting: Setting) -> Trainer:
    """Minibatches of resident data, fused Adam."""
    net = Weights(*([transposed(value).requires_grad_() for value in part] for part in weights_of(*programs(setting))))
    optimiser = torch.optim.Adam([value for part in net for value in part], lr=LEARNING_RATE, fused=True)
    loss, cases = LOSSES[setting.scheme], data(setting)

    def step(rows: Tensor) -> None:
        optimiser.zero_grad()
        loss(net, cases[rows], setting.particles).backward()
        optimiser.step()

    return Trainer(
        step, as_they_are, lambda: Weights(*([transposed(value.detach()) for value in part] for part in net))
    )


def log_prob(values: Tensor, logits: Tensor) -> Tensor:
    """Of a layer of Bernoulli units."""
    # two sums, so that neither term is written out for all particles where it is the same for each
    return (values * logits).sum(-1) - softplus(logits).sum(-1)


@torch.no_grad()
def draw(logits: Tensor) -> Tensor:
    """Zeros and ones. Numbers compared are faster than ``torch.bernoulli`` on a CPU."""
    return (torch.rand_like(logits) < torch.sigmoid(logits)).float()


def recognise(net: Weights, x: Tensor, particles: int) -> tuple[list[Tensor], list[Tensor]]:
    """Hidden layers drawn from the guide, bottom to top, and the logits that they were drawn from."""
    hidden: list[Tensor] = []
    logits: list[Tensor] = []
    below = x
    for weight, bias in zip(net.up, net.up_bias, strict=True):
        logits.append(linear(below, weight, bias))
        below = draw(logits[-1] if hidden else logits[-1].expand(particles, -1, -1))
        hidden.append(below)
    return hidden, logits


def log_p_terms(net: Weights, layers: list[Tensor], first: int = 0) -> list[Tensor]:
    """``log p`` of each layer given the one above, from layer ``first`` to the top."""
    below = [
        log_prob(values, linear(above, weight, bias))
        for weight, bias, (values, above) in zip(
            net.down[first:], net.down_bias[first:-1], pairwise(layers[first:]), strict=True
        )
    ]
    return [*below, log_prob(layers[-1], net.down_bias[-1])]


def log_p_and_q(net: Weights, x: Tensor, particles: int) -> tuple[Tensor, Tensor]:
    """``log p(x, h)`` and ``log q(h | x)`` of draws of the guide, ``[particles, data]``."""
    hidden, logits = recognise(net, x, particles)
    log_q = sum(map(log_prob, hidden, logits), start=torch.zeros(()))
    return sum(log_p_terms(net, [x, *hidden]), start=torch.zeros(())), log_q


def reweighted_wake_sleep(net: Weights, x: Tensor, particles: int) -> Tensor:
    """Bornschein & Bengio 2015, equations 4 and 7."""
    log_p, log_q = log_p_and_q(net, x, particles)
    weight = (log_p - log_q).detach().softmax(0)
    return -(weight * (log_p + log_q)).sum(0).mean()


def reinforce(net: Weights, x: Tensor, particles: int) -> Tensor:
    """Score function, with the mean of the other particles as baseline."""
    log_p, log_q = log_p_and_q(net, x, particles)
    reward = (log_p - log_q).detach()
    signal = (reward - reward.mean(0)) * (particles / (particles - 1))
    return -(log_p + signal * log_q).mean()


def vimco(net: Weights, x: Tensor, particles: int) -> Tensor:
    """Mnih & Rezende 2016, equations 8 to 11."""
    log_p, log_q = log_p_and_q(net, x, particles)
    log_weight = (log_p - log_q).detach()
    others = (log_weight.sum(0) - log_weight) / (particles - 1)
    # [particle left out, particles, data]
    without = torch.where(
        torch.eye(particles, dtype=torch.bool, device=x.device)[..., None], others[:, None], log_weight
    )
    signal = log_weight.logsumexp(0) - without.logsumexp(1)
    return -(log_weight.softmax(0) * (log_p - log_q) + signal * log_q).sum(0).mean()


def tvo(net: Weights, x: Tensor, particles: int) -> Tensor:
    """Masrani, Le & Wood 2019, equations 8 and 11: the lower sum over 0, 0.1, ..., 1, five intervals."""
    log_p, log_q = log_p_and_q(net, x, particles)
    log_weight = log_p - log_q
    reward = log_weight.detach()
    points = torch.tensor([0.0, *torch.logspace(-1, 0, 5).tolist()], device=x.device)
    beta, width = points[:-1, None, None], points.diff()[:, None, None]
    weight = (beta * reward).softmax(1)  # [intervals, particles, data]
    centred = reward - (weight * reward).sum(1, keepdim=True)
    # the covariance with a term is the mean of its product with the centred reward
    of_path = width * weight * centred * (particles / (particles - 1))
    surrogate = (width * weight).sum(0) * log_weight
    surrogate = surrogate + (beta * of_path).sum(0) * log_p + ((1 - beta) * of_path).sum(0) * log_q
    return -surrogate.sum(0).mean()


def wake_sleep(net: Weights, x: Tensor, particles: int) -> Tensor:
    """Hinton, Dayan, Frey & Neal 1995: as many dreams as recognised data."""
    with torch.no_grad():
        hidden, _ = recognise(net, x, particles)
        dreams = dream(net, (particles, len(x)))
    log_p = sum(log_p_terms(net, [x, *hidden]), start=torch.zeros(()))
    log_q = torch.zeros(())
    for weight, bias, (below, above) in zip(net.up, net.up_bias, pairwise(dreams), strict=True):
        log_q = log_q + log_prob(above, linear(below, weight, bias))
    return -log_p.mean() - log_q.mean()


@torch.no_grad()
def dream(net: Weights, shape: tuple[int, ...]) -> list[Tensor]:
    """Layers drawn from the model, bottom to top."""
    layers = [draw(net.down_bias[-1].expand(*shape, -1))]
    for weight, bias in zip(reversed(net.down), reversed(net.down_bias[:-1]), strict=True):
        layers.insert(0, draw(linear(layers[0], weight, bias)))
    return layers


def disarm(net: Weights, x: Tensor, particles: int) -> Tensor:
    """Dong, Mnih & Tucker 2020, equation 7: the layers above one's partner are drawn anew, those below are kept."""
    layers, partners = [x], []
    logits: list[Tensor] = []
    for weight, bias in zip(net.up, net.up_bias, strict=True):
        of_layer = linear(layers[-1], weight, bias)
        of_layer = of_layer if logits else of_layer.expand(particles, -1, -1)
        uniform, probability = torch.rand_like(of_layer), torch.sigmoid(of_layer.detach())
        layers.append((uniform < probability).float())
        partners.append((1 - uniform < probability).float())
        logits.append(of_layer)
    log_p = log_p_terms(net, layers)
    log_q = [log_prob(layer, of_layer).detach() for layer, of_layer in zip(layers[1:], logits, strict=True)]
    surrogate = sum(log_p, start=torch.zeros(()))
    for level, partner in enumerate(partners):
        with torch.no_grad():
            own = sum(log_p[level:], start=torch.zeros(())) - sum(log_q[level:], start=torch.zeros(()))
            difference = own - _judged(net, layers, level, partner, logits[level])
            changed = layers[level + 1] != partner
            direction = torch.where(changed, (1 - 2 * partner) * torch.sigmoid(logits[level].abs()), 0.0)
        surrogate = surrogate + difference / 2 * (direction * logits[level]).sum(-1)
    return -surrogate.mean()


def _judged(net: Weights, layers: list[Tensor], level: int, partner: Tensor, logits: Tensor) -> Tensor:
    """What a partner of hidden layer ``level`` can influence of ``log p - log q``."""
    others = [*layers[: level + 1], partner]
    log_q = log_prob(partner, logits)
    for weight, bias in zip(net.up[level + 1 :], net.up_bias[level + 1 :], strict=True):
        above = linear(others[-1], weight, bias)
        others.append(draw(above))
        log_q = log_q + log_prob(others[-1], above)
    return sum(log_p_terms(net, others, level), start=torch.zeros(())) - log_q


LOSSES: dict[str, Callable[[Weights, Tensor, int], Tensor]] = {
    "reinforce": reinforce,
    "vimco": vimco,
    "tvo": tvo,
    "wake_sleep": wake_sleep,
    "reweighted_wake_sleep": reweighted_wake_sleep,
    "disarm": disarm,
}
