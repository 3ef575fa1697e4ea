"""Time of a training step: ours against a hand-written PyTorch loop and Pyro's own, side by side in one run.

    python analysis/benchmarks/training_step.py

Prints medians in milliseconds and the ratios to the hand-written step of the same scheme at one restart. All use the
same machine (sigmoid units), batch, particles and fused Adam; they take turns, so that a drift of the computer's speed
hits all alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Annotated

import pandas as pd
import pyro
import torch
import typer
from pyro.infer import SVI
from pyro.infer import ReweightedWakeSleep as PyroReweightedWakeSleep
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, linear

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

NETS = {"32-24-2": ((32, 24, 2), 128), "64-32-16": ((64, 32, 16), 128), "784-200-200": ((784, 200, 200), 100)}


def hand_written(scheme: str, sizes: tuple[int, ...], x: Tensor, particles: int) -> Callable[[], None]:
    """A training step as one would write it for this one machine and scheme, without Pyro."""
    down = [torch.randn(n, m).mul(0.1).requires_grad_() for n, m in pairwise(sizes)]
    down_bias = [torch.zeros(n, requires_grad=True) for n in sizes]
    up = [torch.randn(m, n).mul(0.1).requires_grad_() for n, m in pairwise(sizes)]
    up_bias = [torch.zeros(n, requires_grad=True) for n in sizes[1:]]
    optimiser = torch.optim.Adam([*down, *down_bias, *up, *up_bias], lr=0.01, fused=True)

    def log_prob(values: Tensor, logits: Tensor) -> Tensor:
        logits = logits.expand_as(values) if logits.dim() < values.dim() else logits
        values = values.expand_as(logits)
        return -binary_cross_entropy_with_logits(logits, values, reduction="none").sum(-1)

    def recognise(below: Tensor) -> tuple[list[Tensor], Tensor]:
        hidden, log_q = [], torch.zeros(())
        for weight, bias in zip(up, up_bias, strict=True):
            logits = linear(below, weight, bias)
            if below.dim() == 2:
                logits = logits.expand(particles, *logits.shape)
            below = torch.bernoulli(torch.sigmoid(logits.detach()))
            log_q = log_q + log_prob(below, logits)
            hidden.append(below)
        return hidden, log_q

    def log_joint(hidden: list[Tensor]) -> Tensor:
        total = log_prob(hidden[-1], down_bias[-1])
        for weight, bias, below, above in zip(down, down_bias, [x, *hidden], hidden, strict=False):
            total = total + log_prob(below, linear(above, weight, bias))
        return total

    def dream() -> tuple[Tensor, list[Tensor]]:
        with torch.no_grad():
            shape = (particles, len(x), sizes[-1])
            layers = [torch.bernoulli(torch.sigmoid(down_bias[-1]).expand(shape))]
            for weight, bias in zip(reversed(down), reversed(down_bias[:-1]), strict=True):
                layers.insert(0, torch.bernoulli(torch.sigmoid(linear(layers[0], weight, bias))))
        return layers[0], layers[1:]

    def score_dream() -> Tensor:
        below, hidden = dream()
        log_q = torch.zeros(())
        for weight, bias, above in zip(up, up_bias, hidden, strict=True):
            log_q = log_q + log_prob(above, linear(below, weight, bias))
            below = above
        return log_q

    def step() -> None:
        optimiser.zero_grad()
        hidden, log_q = recognise(x)
        log_p = log_joint(hidden)
        log_weight = (log_p - log_q).detach()
        if scheme == "reweighted_wake_sleep":
            loss = -(log_weight.softmax(0) * (log_p + log_q)).sum(0).mean()
        elif scheme == "reinforce":
            signal = (log_weight - log_weight.mean(0)) * (particles / (particles - 1))
            loss = -(log_p + signal * log_q).mean(0).mean()
        elif scheme == "vimco":
            others = (log_weight.sum(0) - log_weight) / (particles - 1)
            parts = [(log_weight[:k], others[k : k + 1], log_weight[k + 1 :]) for k in range(particles)]
            without = torch.stack([torch.cat(part).logsumexp(0) for part in parts])
            signal = log_weight.logsumexp(0) - without
            loss = -(log_weight.softmax(0) * (log_p - log_q) + signal * log_q).sum(0).mean()
        else:
            loss = -log_p.mean() - score_dream().mean()
        loss.backward()
        optimiser.step()

    return step


def ours(scheme: str, sizes: tuple[int, ...], x: Tensor, particles: int, restarts: int) -> Callable[[], None]:
    """The step that fit takes."""
    model = BeliefNetwork(sizes, restarts=restarts, seed=0)
    guide = FactorialRecognition(sizes, restarts=restarts, seed=0)
    optimiser = torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=0.01, fused=True)
    objective = helm.SCHEMES[scheme](num_particles=particles)

    def step() -> None:
        optimiser.zero_grad()
        loss = objective.restart_losses(model, guide, observations={"x": x}).sum() / len(x)
        loss.backward()
        optimiser.step()

    return step


def pyros(sizes: tuple[int, ...], x: Tensor, particles: int) -> Callable[[], None]:
    """Pyro's own reweighted wake-sleep (weights of the whole batch) on our model and guide."""
    loss = PyroReweightedWakeSleep(num_particles=particles, vectorize_particles=True, max_plate_nesting=2)
    svi = SVI(
        BeliefNetwork(sizes, seed=0), FactorialRecognition(sizes, seed=0), pyro.optim.Adam({"lr": 0.01}), loss=loss
    )
    return lambda: svi.step(observations={"x": x})


def side_by_side(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 3):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if turn >= 3:  # the first turns warm up
                times[name].append(1e3 * (time.perf_counter() - began))
    return {name: median(values) for name, values in times.items()}


def main(
    rounds: Annotated[int, typer.Option(help="Steps measured of each.")] = 200,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    particles: Annotated[int, typer.Option(help="Particles per datum.")] = 5,
    restarts: Annotated[int, typer.Option(help="Restarts of the batched machine.")] = 64,
    nets: Annotated[str, typer.Option(help="Networks, separated by commas.")] = "32-24-2,64-32-16,784-200-200",
) -> None:
    """Print the table of medians and ratios."""
    torch.set_num_threads(threads)
    rows = []
    for net in nets.split(","):
        sizes, batch = NETS[net]
        x = (torch.rand(batch, sizes[0], generator=torch.Generator().manual_seed(0)) < 0.3).float()
        for scheme in (name for name, known in helm.SCHEMES.items() if known.samples):
            steps = {
                "hand-written": hand_written(scheme, sizes, x, particles),
                "ours": ours(scheme, sizes, x, particles, restarts=1),
            }
            if sizes[0] < 100:
                steps["ours, restarts"] = ours(scheme, sizes, x, particles, restarts=restarts)
            if scheme == "reweighted_wake_sleep":
                steps["pyro"] = pyros(sizes, x, particles)
            with pyro.validation_enabled(False):
                times = side_by_side(steps, rounds)
            base = times["hand-written"]
            rows.append(
                {
                    "net": net,
                    "scheme": scheme,
                    "hand-written ms": base,
                    "ours ms": times["ours"],
                    "ours / hand-written": times["ours"] / base,
                    f"ours, each of {restarts} restarts / hand-written": times.get("ours, restarts", float("nan"))
                    / restarts
                    / base,
                    "pyro / hand-written": times.get("pyro", float("nan")) / base,
                }
            )
    typer.echo(f"batch 128 (784-200-200: 100), {particles} particles, {threads} threads, medians of {rounds} steps")
    typer.echo(pd.DataFrame(rows).to_string(index=False, float_format="{:.2f}".format, na_rep="-"))


if __name__ == "__main__":
    typer.run(main)
