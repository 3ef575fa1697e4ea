"""What is attainable on the shifter with noisy-or and sigmoid units: machines set by hand and polished.

    python -m analysis.paper.attainable

As ``best_known.py`` does for odds. A noisy-or machine is set as one of odds: weights and leaks mean nearly the same
where a single cause is on. A sigmoid's weights may be negative, so that a top unit can turn off the units of the other
direction: one says which direction it is, the other is always on, a bias for the middle layer, whose own is fixed.
Such a machine may come as near to minus the entropy of the data, -4.579 nats, as its recognition allows. Prints the
log-likelihood of each copy, in nats per pattern, with its reading of the direction.
"""

from __future__ import annotations

from typing import Annotated

import torch
import typer

import pyro_helm as helm
from analysis.paper.best_known import by_hand
from analysis.paper.shifter_training import Machine, judge, polish

ATTAINABLE = {"odds": -4.946, "noisy_or": -4.97, "sigmoid": -4.586}
"""Best log-likelihoods known, nats per pattern: of ``best_known.py`` and of this script."""

ON, OFF = 14.0, -7.0
"""Logits that a unit of the sigmoid machine adds to the pixels it stands for, and those of pixels without a cause."""


def set_by_hand(imaging: str, restarts: int, *, noise: float = 0.1, seed: int = 0) -> Machine:
    """A machine that is set to the intended solution, with normal noise of this size in its weights."""
    model, guide = by_hand(restarts, imaging=imaging, noise=noise, seed=seed)
    if imaging != "sigmoid":
        return model, guide
    draws = torch.Generator().manual_seed(seed)
    left, right, spare = slice(0, 8), slice(8, 16), slice(16, None)
    # given the top units (left, always on), a unit of the direction shown is on with probability 0.2
    descent = torch.zeros(2, 24)
    descent[:, left], descent[:, right] = torch.tensor([[12.0], [-10.4]]), torch.tensor([[-12.0], [1.6]])
    descent[1, spare] = -10.0
    ascent = torch.zeros(24, 2)
    ascent[left, 0], ascent[right, 0] = 6.0, -6.0
    with torch.no_grad():
        # of odds, log weights: those of a pixel's own unit are positive
        down = torch.where(model.generative[0].weight_unconstrained > 0, ON, 0.0)
        for parameter, value in (
            (model.generative[0].weight_unconstrained, down),
            (model.generative[1].weight_unconstrained, descent),
            (guide.recognition[1].weight, ascent),
        ):
            parameter.copy_(value + noise * torch.randn(parameter.shape, generator=draws))
        model.generative[0].learned_leak_unconstrained.fill_(OFF)
        model.generative[2].learned_leak_unconstrained.copy_(torch.tensor([3.0, 7.0]))
        guide.recognition[0].learned_leak[..., spare] = -10.0
        guide.recognition[1].learned_leak.copy_(torch.tensor([0.0, 4.0]))
    return model, guide


def main(
    imagings: Annotated[str, typer.Option(help="Imaging models, separated by commas.")] = "noisy_or,sigmoid",
    restarts: Annotated[int, typer.Option(help="Noisy copies.")] = 4,
    epochs: Annotated[int, typer.Option(help="At each of two rates, 0.01 and 0.001.")] = 8,
    samples: Annotated[int, typer.Option(help="Importance samples of the judgement.")] = 2000,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Set, polish and print."""
    torch.set_num_threads(threads)
    data = helm.load_data("shifter")
    for imaging in imagings.split(","):
        machine = set_by_hand(imaging, restarts)
        for seed, rate in enumerate((0.01, 0.001)):
            polish(machine, helm.ReweightedWakeSleep(10), data, epochs=epochs, learning_rate=rate, seed=seed)
        typer.echo(judge(machine, data, num_samples=samples).assign(imaging=imaging).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
