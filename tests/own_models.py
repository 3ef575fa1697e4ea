"""Models and guides in plain Pyro as a user would write them; a new pair is one line in PAIRS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

import pyro_helm as helm

Observations = Mapping[str, Tensor]


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
SEASONAL = torch.tensor([0.3, -1.2, 0.9, 2.0], dtype=torch.float64)


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
