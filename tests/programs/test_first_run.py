"""A program that its first run stops is told what the contract asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import pyro_helm as helm

X = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


class Program(nn.Module):
    """Of two hidden units; a model if it shows ``x`` to its visible site."""

    def __init__(self, run: Callable[[Program, Any], None]) -> None:
        super().__init__()
        self.weight, self.run = nn.Parameter(torch.zeros(2, 3)), run

    def forward(self, observations: Any) -> None:
        with pyro.plate("data", 4, dim=-1):
            self.run(self, observations)


class Positional(Program):
    def forward(self, x: Tensor) -> None:
        super().forward({"x": x})


def model(program: Program, observations: Any, name: str = "x") -> None:
    h = pyro.sample("h", dist.Bernoulli(torch.full((2,), 0.5)).to_event(1))
    pyro.sample("x", dist.Bernoulli(logits=h @ program.weight).to_event(1), obs=observations[name])


def guide(program: Program, observations: Any) -> None:
    pyro.sample("h", dist.Bernoulli(logits=observations["x"] @ program.weight.mT).to_event(1))


def of_pixels(program: Program, observations: Any) -> None:
    model(program, observations, "pixels")


def without_event(program: Program, observations: Any) -> None:
    pyro.sample("h", dist.Bernoulli(torch.full((2,), 0.5)))


def concatenating(program: Program, observations: Any) -> None:
    x = observations["x"]
    a = pyro.sample("a", dist.Bernoulli(logits=x[:, 0] * program.weight[0, 0]))
    pyro.sample("h", dist.Bernoulli(logits=torch.cat([x[:, :1], a[..., None]], -1)).to_event(1))


def of_another_key(program: Program, observations: Any) -> None:
    {"a": 1}["b"]


def trained(one: nn.Module, other: nn.Module) -> None:
    helm.fit(one, other, X, scheme=helm.VIMCO(3), num_epochs=1, progress=False)


@pytest.mark.parametrize(
    ("one", "other", "error", "words"),
    [
        (Program(of_pixels), Program(guide), ValueError, r"reads observations\['pixels'\], but was given 'x'; pass"),
        (Program(model), Program(of_pixels), ValueError, r"reads observations\['pixels'\], but was given 'x'; pass"),
        (Positional(model), Program(guide), TypeError, r"are called with observations=\{'x': rows\}"),
        (Program(without_event), Program(guide), ValueError, r"4 vs 2; write \.to_event\(1\)"),
        (Program(model), Program(concatenating), ValueError, "arrive as .*rather than concatenate"),
        (Program(of_another_key), Program(guide), KeyError, "'b'"),
    ],
)
def test_the_error_says_what_is_expected(one: nn.Module, other: nn.Module, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        trained(one, other)


def test_a_pair_that_keeps_the_contract_trains() -> None:
    trained(Program(model), Program(guide))
