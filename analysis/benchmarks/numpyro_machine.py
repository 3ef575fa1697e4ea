"""The machine as NumPyro programs, trained by NumPyro's own SVI, jitted."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, TraceGraph_ELBO

from analysis.benchmarks.hand_written_jax import rows_of, to_jax, to_torch
from analysis.benchmarks.setting import LEARNING_RATE, Setting, Trainer, Weights, data, programs, weights_of


def start(setting: Setting) -> Trainer:
    """The score-function estimator, which is the one of NumPyro's that follows discrete draws."""
    first = to_jax(weights_of(*programs(setting)))
    depth = len(first.up)

    def parameters(half: str, weights: list[Any], biases: list[Any]) -> tuple[list[Any], list[Any]]:
        # copies, since the state that holds them is donated
        return (
            [numpyro.param(f"{half}_weight_{level}", jnp.array(value)) for level, value in enumerate(weights)],
            [numpyro.param(f"{half}_bias_{level}", jnp.array(value)) for level, value in enumerate(biases)],
        )

    def model(x: Any) -> None:
        down, down_bias = parameters("down", first.down, first.down_bias)
        with numpyro.plate("data", len(x)):
            above = numpyro.sample(f"h{depth}", dist.Bernoulli(logits=down_bias[-1]).to_event(1))
            for level in range(depth - 1, 0, -1):
                logits = above @ down[level] + down_bias[level]
                above = numpyro.sample(f"h{level}", dist.Bernoulli(logits=logits).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=above @ down[0] + down_bias[0]).to_event(1), obs=x)

    def guide(x: Any) -> None:
        up, up_bias = parameters("up", first.up, first.up_bias)
        below = x
        with numpyro.plate("data", len(x)):
            for level, (weight, bias) in enumerate(zip(up, up_bias, strict=True), start=1):
                below = numpyro.sample(f"h{level}", dist.Bernoulli(logits=below @ weight + bias).to_event(1))

    svi = SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), TraceGraph_ELBO(num_particles=setting.particles))
    cases = jnp.asarray(data(setting).cpu().numpy())
    state = svi.init(jax.random.key(0), cases[: setting.batch])
    update = jax.jit(lambda state, cases, rows: svi.update(state, cases[rows]), donate_argnums=0)

    def step(rows: Any) -> None:
        nonlocal state
        state, loss = update(state, cases, rows)
        jax.block_until_ready((state, loss))

    def weights() -> Weights:
        found = svi.get_params(state)
        names = {"down_weight": depth, "down_bias": depth + 1, "up_weight": depth, "up_bias": depth}
        return to_torch(Weights(*([found[f"{name}_{level}"] for level in range(n)] for name, n in names.items())))

    return Trainer(step, rows_of, weights)
