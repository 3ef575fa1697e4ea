"""What is trained in the measurements: a sigmoid machine, its first weights, and minibatches of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

NETS: dict[str, tuple[tuple[int, ...], int]] = {
    "32-24-2": ((32, 24, 2), 128),
    "64-32-16": ((64, 32, 16), 128),
    "784-200-200": ((784, 200, 200), 100),
}
"""Sizes and minibatch of each."""

PARTICLES = 5
LEARNING_RATE = 0.01
NUM_DATA = 1000


@dataclass(frozen=True)
class Setting:
    """A machine and how it is trained."""

    scheme: str
    sizes: tuple[int, ...]
    batch: int
    particles: int = PARTICLES
    restarts: int = 1
    device: str = "cpu"

    @property
    def net(self) -> str:
        """Sizes, bottom to top."""
        return "-".join(map(str, self.sizes))

    @property
    def labels(self) -> dict[str, Any]:
        """Columns of the table."""
        sizes = {"batch": self.batch, "particles": self.particles, "restarts": self.restarts}
        return {"net": self.net, "scheme": self.scheme, **sizes, "device": self.device}


class Weights(NamedTuple):
    """Of one machine: ``down[l]`` makes layer l of layer l + 1, ``up[l]`` the other way, both ``[from, to]``."""

    down: list[Tensor]
    down_bias: list[Tensor]
    up: list[Tensor]
    up_bias: list[Tensor]


class Trainer(NamedTuple):
    """One of those who are compared, ready to train.

    Attributes:
        step: a step on a minibatch; on a GPU it may go on when it has returned.
        native: from rows of the data to what ``step`` takes, made before the clock starts.
        weights: where the training stands; None for what does not train.

    """

    step: Callable[[Any], object]
    native: Callable[[Tensor], Any]
    weights: Callable[[], Weights] | None


Start = Callable[[Setting], Trainer]


def programs(setting: Setting) -> tuple[BeliefNetwork, FactorialRecognition]:
    """Our model and guide, with the first weights from which all start."""
    sizes, restarts = setting.sizes, setting.restarts
    model = BeliefNetwork(sizes, restarts=restarts, seed=0)
    guide = FactorialRecognition(sizes, restarts=restarts, seed=0)
    return model.to(setting.device), guide.to(setting.device)


def weights_of(model: BeliefNetwork, guide: FactorialRecognition) -> Weights:
    """Copies of the weights of the first restart."""
    down, down_bias, up, up_bias = ([p[0].detach().clone() for p in part] for part in parameter_lists(model, guide))
    return Weights(down, [bias[0] for bias in down_bias], up, [bias[0] for bias in up_bias])


@torch.no_grad()
def programs_with(weights: Weights) -> tuple[BeliefNetwork, FactorialRecognition]:
    """Our model and guide with these weights."""
    sizes = tuple(len(bias) for bias in weights.down_bias)
    model, guide = BeliefNetwork(sizes), FactorialRecognition(sizes)
    for part, values in zip(parameter_lists(model, guide), weights, strict=True):
        for parameter, value in zip(part, values, strict=True):
            parameter.copy_(value.expand_as(parameter))
    return model, guide


def parameter_lists(model: BeliefNetwork, guide: FactorialRecognition) -> list[list[Tensor]]:
    """As in :class:`Weights`, with the restarts in front."""
    return [
        [layer.weight_unconstrained for layer in model.generative[:-1]],
        [layer.learned_leak_unconstrained for layer in model.generative],
        [layer.weight_unconstrained for layer in guide.recognition],
        [layer.learned_leak_unconstrained for layer in guide.recognition],
    ]


def transposed(value: Tensor) -> Tensor:
    """A weight laid out the other way, ``[to, from]``; a bias as it is."""
    return value.T.contiguous() if value.dim() == 2 else value


def data(setting: Setting) -> Tensor:
    """Patterns with something to learn: each is one or two of eight prototypes, with noise."""
    number, width = max(NUM_DATA, setting.batch), setting.sizes[0]
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.rand(8, width, generator=generator) < 0.2
    first, second = (prototypes[torch.randint(8, (number,), generator=generator)] for _ in range(2))
    noise = torch.rand(number, width, generator=generator) < 0.02
    return ((first | second) ^ noise).float().to(setting.device)


def minibatches(setting: Setting, number: int = 40) -> list[Tensor]:
    """Rows of the data."""
    generator = torch.Generator().manual_seed(1)
    num_data = max(NUM_DATA, setting.batch)
    rows = [torch.randperm(num_data, generator=generator)[: setting.batch] for _ in range(number)]
    return [some.to(setting.device) for some in rows]


def stepper(trainer: Trainer, setting: Setting) -> Callable[[], object]:
    """A step on the next minibatch, at every call."""
    batches = cycle([trainer.native(rows) for rows in minibatches(setting)])
    return lambda: trainer.step(next(batches))


def as_they_are(rows: Tensor) -> Tensor:
    """Rows for those who train in torch."""
    return rows
