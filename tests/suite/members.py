"""The suite: its models and guides, tiny enough for every state to be enumerated. A new one is one line."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_helm.guides import (
    AutoregressiveRecognition,
    FactorialRecognition,
    IterativeRecognition,
    LabelledRecognition,
    LateralRecognition,
    TemporalRecognition,
)
from pyro_helm.layers import Imaging
from pyro_helm.models import BeliefNetwork, LabelledBeliefNetwork, TemporalBeliefNetwork

NUM_DATA, NUM_STEPS = 3, 3


class StudentT(Imaging):
    """An imaging model of a user's own: heavy tails around the drive."""

    def distribution(self, drive: Tensor) -> dist.TorchDistribution:
        return dist.StudentT(5.0, drive, 0.5)


@dataclass(frozen=True)
class Model:
    """A model of the suite."""

    sizes: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind: Callable[..., Any] = BeliefNetwork

    def __call__(self, restarts: int = 1, seed: int = 1) -> Any:
        return self.kind(self.sizes, restarts=restarts, seed=seed, **self.settings)


@dataclass(frozen=True)
class Guide:
    """A guide of the suite."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    kind: Callable[..., Any] = FactorialRecognition

    def __call__(self, sizes: tuple[int, ...], restarts: int = 1, seed: int = 1) -> Any:
        return self.kind(sizes, restarts=restarts, seed=seed, **self.settings)


MODELS = {
    "binary": Model((3, 2, 2), {"imaging": ("sigmoid", "odds", "noisy_or"), "fixed_leak": (None, 0.1, None)}),
    "gaussian": Model((2, 2, 2), {"visible": "gaussian"}),
    "poisson": Model((2, 2, 2), {"visible": "poisson", "imaging": "noisy_or"}),
    "categorical": Model((5, 2, 2), {"visible": "categorical", "groups": (2, 3)}),
    "a class": Model((2, 2), {"visible": StudentT}),
    "lateral": Model((3, 2, 3), {"lateral": True, "blocks": 2, "imaging": ("sigmoid", "odds", "sigmoid")}),
    "lateral gaussian": Model((3, 2), {"visible": "gaussian", "lateral": (True, False)}),
    "lateral groups": Model((6, 2), {"visible": "categorical", "groups": (2, 2, 2), "lateral": (True, False)}),
    "skip": Model((3, 2, 2, 1), {"skip": True, "imaging": ("noisy_or", "sigmoid", "sigmoid", "sigmoid")}),
    "condition": Model((3, 2, 2), {"condition": 3, "imaging": ("sigmoid", "odds", "sigmoid")}),
    "labelled": Model((3, 2, 2), {"labels": 3, "imaging": ("noisy_or", "sigmoid", "odds")}, LabelledBeliefNetwork),
    "quantiser": Model((2, 5), {"imaging": ("gaussian", "categorical"), "groups": {"h1": (2, 3)}}),
    "skip, lateral": Model((3, 2, 2), {"skip": {"x": ("h2",)}, "lateral": True}),
}
GUIDES = {
    "factorial": Guide(),
    "autoregressive": Guide(kind=AutoregressiveRecognition),
    "lateral": Guide({"iterations": 2}, kind=LateralRecognition),
    "iterative": Guide({"iterations": 2}, kind=IterativeRecognition),
    "trunk": Guide({"trunk": nn.Sequential(nn.Linear(3, 4), nn.Tanh())}),
}
OWN_GUIDES = {
    "condition": Guide({"condition": 3}),
    "labelled": Guide({"labels": 3}, kind=LabelledRecognition),
    "quantiser": Guide({"groups": {"h1": (2, 3)}}),
}
"""Of the models that a plain guide does not fit."""

PAIRS = {
    **{f"{name}, factorial": (model, GUIDES["factorial"]) for name, model in MODELS.items() if name not in OWN_GUIDES},
    **{f"binary, {name}": (MODELS["binary"], guide) for name, guide in GUIDES.items() if name != "factorial"},
    **{f"{name}, own": (MODELS[name], guide) for name, guide in OWN_GUIDES.items()},
}
WITH_SEQUENCES = PAIRS | {"temporal": (Model((2, 1, 1), kind=TemporalBeliefNetwork), Guide(kind=TemporalRecognition))}
"""And those whose layers are sequences, for what does not depend on the states of a layer."""


def far_from_the_start(module: nn.Module, seed: int = 3) -> Any:
    """The module in float64, well away from its initial values."""
    module = module.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.7 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def replicated(one: nn.Module, many: nn.Module) -> Any:
    """A module of many restarts, all with the parameters of one."""
    many = many.double()
    shapes = {name: value.shape for name, value in many.state_dict().items()}
    many.load_state_dict({name: value.expand(shapes[name]) for name, value in one.state_dict().items()})
    return many


def restart_of(many: nn.Module, one: nn.Module, number: int) -> Any:
    """A module of one restart, with the parameters of one of many."""
    values = many.state_dict()
    one = copy.deepcopy(one).to(next(many.parameters()).dtype)
    one.load_state_dict({name: value[number : number + 1] if value.dim() else value for name, value in values.items()})
    return one


def learns_alone(guide: Any) -> bool:
    """Whether a file is all that it takes to make the guide anew."""
    return getattr(guide, "trunk", None) is None


def observed(model: Any, num_data: int = NUM_DATA, seed: int = 0) -> dict[str, Tensor]:
    """Observations that the model can have: dreams of it; of sequences, of several lengths and with a value missing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(model, TemporalBeliefNetwork):
            x = model(num_data=num_data, num_steps=NUM_STEPS).detach()
            x[..., 0, 1, 0] = torch.nan
            return {"x": x, "length": NUM_STEPS - torch.arange(num_data) % NUM_STEPS}
        given = {} if model.condition is None else {"label": torch.arange(num_data) % model.condition}
        if hasattr(model, "labels"):
            given = {"label": given["label"].double().masked_fill(given["label"] == 1, torch.nan)}
        trace = poutine.trace(model).get_trace(given, num_data=num_data)
    return given | {"x": trace.nodes["x"]["value"].detach()}


every_pair = pytest.mark.parametrize("pair", PAIRS)
every_pair_with_sequences = pytest.mark.parametrize("pair", WITH_SEQUENCES)
every_model = pytest.mark.parametrize("name", MODELS)


@cache
def machine(pair: str) -> tuple[Any, Any, dict[str, Tensor]]:
    """A model and guide of one restart, far from their start, and observations."""
    make_model, make_guide = WITH_SEQUENCES[pair]
    model = far_from_the_start(make_model())
    return model, far_from_the_start(make_guide(make_model.sizes)), observed(model)


def can_be_listed(model: Any) -> bool:
    return model.imaging[0] in ("sigmoid", "noisy_or", "odds", "categorical")
