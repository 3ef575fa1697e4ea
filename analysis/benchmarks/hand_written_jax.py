"""Training steps as one would write them in JAX for this one machine: jitted whole, with optax.

The data stay on the device and are gathered by their rows inside the step; parameters and the optimiser's state are
donated. Each loss has the gradient of its scheme; its value means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from jax.lax import stop_gradient
from jax.nn import logsumexp, sigmoid, softmax, softplus
from torch import Tensor

from analysis.benchmarks.setting import LEARNING_RATE, Setting, Trainer, Weights, data, programs, weights_of

Array = Any


def start(setting: Setting) -> Trainer:
    """Adam, with JAX's own generator of random numbers, on a CPU the faster one."""
    net = to_jax(weights_of(*programs(setting)))
    optimiser = optax.adam(LEARNING_RATE)
    loss = LOSSES[setting.scheme]
    cases = jnp.asarray(data(setting).cpu().numpy())

    def update(net: Weights, state: Any, key: Array, cases: Array, rows: Array) -> tuple[Weights, Any, Array, Array]:
        key, draws = jax.random.split(key)
        value, gradients = jax.value_and_grad(loss)(net, cases[rows], draws, setting.particles)
        updates, state = optimiser.update(gradients, state, net)
        return optax.apply_updates(net, updates), state, key, value

    jitted = jax.jit(update, donate_argnums=(0, 1, 2))
    state, key = optimiser.init(net), jax.random.key(0)

    def step(rows: Array) -> None:
        nonlocal net, state, key
        net, state, key, value = jitted(net, state, key, cases, rows)
        jax.block_until_ready((net, value))

    return Trainer(step, rows_of, lambda: to_torch(net))


def rows_of(rows: Tensor) -> Array:
    """Rows on the device."""
    return jnp.asarray(rows.cpu().numpy().astype(np.int32))


def to_jax(weights: Weights) -> Weights:
    """The same weights as arrays of JAX."""
    return Weights(*([jnp.array(value.cpu().numpy()) for value in part] for part in weights))


def to_torch(weights: Weights) -> Weights:
    """The same weights as tensors."""
    return Weights(*([torch.tensor(np.asarray(value)) for value in part] for part in weights))


def log_prob(values: Array, logits: Array) -> Array:
    """Of a layer of Bernoulli units."""
    return (values * logits).sum(-1) - softplus(logits).sum(-1)


def draw(key: Array, logits: Array, shape: tuple[int, ...]) -> Array:
    """Zeros and ones, ``[*shape, units]``."""
    uniform = jax.random.uniform(key, (*shape, logits.shape[-1]))
    return stop_gradient((uniform < sigmoid(logits)).astype(jnp.float32))


def recognise(net: Weights, x: Array, key: Array, particles: int) -> tuple[list[Array], Array]:
    """Hidden layers drawn from the guide, bottom to top, and ``log q`` of them."""
    below, hidden, log_q = x, [], 0.0
    for weight, bias, key_of_layer in zip(net.up, net.up_bias, jax.random.split(key, len(net.up)), strict=True):
        logits = below @ weight + bias
        below = draw(key_of_layer, logits, (particles, len(x)))
        log_q = log_q + log_prob(below, logits)
        hidden.append(below)
    return hidden, log_q


def log_joint(net: Weights, layers: list[Array]) -> Array:
    """``log p(x, h)``."""
    total = log_prob(layers[-1], net.down_bias[-1])
    for weight, bias, (below, above) in zip(net.down, net.down_bias[:-1], pairwise(layers), strict=True):
        total = total + log_prob(below, above @ weight + bias)
    return total


def log_p_and_q(net: Weights, x: Array, key: Array, particles: int) -> tuple[Array, Array]:
    """``log p(x, h)`` and ``log q(h | x)`` of draws of the guide, ``[particles, data]``."""
    hidden, log_q = recognise(net, x, key, particles)
    return log_joint(net, [x, *hidden]), log_q


def reweighted_wake_sleep(net: Weights, x: Array, key: Array, particles: int) -> Array:
    """Bornschein & Bengio 2015, equations 4 and 7."""
    log_p, log_q = log_p_and_q(net, x, key, particles)
    weight = softmax(stop_gradient(log_p - log_q), 0)
    return -(weight * (log_p + log_q)).sum(0).mean()


def reinforce(net: Weights, x: Array, key: Array, particles: int) -> Array:
    """Score function, with the mean of the other particles as baseline."""
    log_p, log_q = log_p_and_q(net, x, key, particles)
    reward = stop_gradient(log_p - log_q)
    signal = (reward - reward.mean(0)) * (particles / (particles - 1))
    return -(log_p + signal * log_q).mean()


def vimco(net: Weights, x: Array, key: Array, particles: int) -> Array:
    """Mnih & Rezende 2016, equations 8 to 11."""
    log_p, log_q = log_p_and_q(net, x, key, particles)
    log_weight = stop_gradient(log_p - log_q)
    others = (log_weight.sum(0) - log_weight) / (particles - 1)
    without = jnp.where(jnp.eye(particles, dtype=bool)[..., None], others[:, None], log_weight)
    signal = logsumexp(log_weight, 0) - logsumexp(without, 1)
    return -(softmax(log_weight, 0) * (log_p - log_q) + signal * log_q).sum(0).mean()


def tvo(net: Weights, x: Array, key: Array, particles: int) -> Array:
    """Masrani, Le & Wood 2019, equations 8 and 11: the lower sum over 0, 0.1, ..., 1, five intervals."""
    log_p, log_q = log_p_and_q(net, x, key, particles)
    reward = stop_gradient(log_p - log_q)
    points = jnp.asarray([0.0, *np.logspace(-1, 0, 5)])
    beta, width = points[:-1, None, None], jnp.diff(points)[:, None, None]
    weight = softmax(beta * reward, 1)
    centred = reward - (weight * reward).sum(1, keepdims=True)
    of_path = width * weight * centred * (particles / (particles - 1))
    surrogate = (width * weight).sum(0) * (log_p - log_q)
    surrogate = surrogate + (beta * of_path).sum(0) * log_p + ((1 - beta) * of_path).sum(0) * log_q
    return -surrogate.sum(0).mean()


def wake_sleep(net: Weights, x: Array, key: Array, particles: int) -> Array:
    """Hinton, Dayan, Frey & Neal 1995: as many dreams as recognised data."""
    of_wake, of_sleep = jax.random.split(key)
    hidden, _ = recognise(net, x, of_wake, particles)
    dreams = dream(net, of_sleep, (particles, len(x)))
    log_q = 0.0
    for weight, bias, (below, above) in zip(net.up, net.up_bias, pairwise(dreams), strict=True):
        log_q = log_q + log_prob(above, below @ weight + bias)
    return -log_joint(net, [x, *hidden]).mean() - jnp.mean(log_q)


def dream(net: Weights, key: Array, shape: tuple[int, ...]) -> list[Array]:
    """Layers drawn from the model, bottom to top."""
    first, *keys = jax.random.split(key, len(net.down_bias))
    layers = [draw(first, net.down_bias[-1], shape)]
    for weight, bias, key_of_layer in zip(reversed(net.down), reversed(net.down_bias[:-1]), keys, strict=True):
        layers.insert(0, draw(key_of_layer, layers[0] @ weight + bias, shape))
    return layers


LOSSES: dict[str, Callable[[Weights, Array, Array, int], Array]] = {
    "reinforce": reinforce,
    "vimco": vimco,
    "tvo": tvo,
    "wake_sleep": wake_sleep,
    "reweighted_wake_sleep": reweighted_wake_sleep,
}
