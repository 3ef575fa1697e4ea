"""Param stores: scoring a module neither reads another machine's parameters nor leaves its own behind."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam
from torch import Tensor

import pyro_helm as helm


class Coin(PyroModule):  # type: ignore[misc]
    """Two coins, one of which is tossed."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = PyroParam(torch.tensor(probability), dist.constraints.unit_interval)

    def forward(self, observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            which = pyro.sample("which", dist.Bernoulli(0.5))
            probability = torch.where(which == 1, self.probability, 0.5)
            pyro.sample("x", dist.Bernoulli(probability[..., None]).to_event(1), obs=observations["x"])


def test_modules_are_scored_with_their_own_parameters() -> None:
    x = torch.ones(1, 1)
    with pyro.get_param_store().scope():
        pyro.get_param_store()["probability"] = torch.tensor(0.9)
        for probability in (0.2, 0.6):
            scores = helm.log_likelihood(Coin(probability), None, x, method="exact")
            expected = torch.tensor((probability + 0.5) / 2).log().item()
            assert abs(scores.summary.log_likelihood.item() - expected) < 1e-6
            posterior = helm.exact_posterior(Coin(probability), None, x)
            assert abs(posterior.log_likelihood.item() - expected) < 1e-6
        assert list(pyro.get_param_store()) == ["probability"]
