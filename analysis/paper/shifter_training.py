"""How the shifter machines of the paper's table are trained, and how they are judged.

The architecture is that of Fig. 4 of Dayan, Hinton, Neal & Zemel 1995: 32-24-2 units; fixed tiny leaks of 0.05 in both
hidden layers, learned biases on top and of the pixels.

Two starts are compared. *At once*: all layers from their initial values. *Layer by layer*: the pixels and the layer
above them first, as a machine of two layers whose hidden units have nothing but the leak of 0.05 to turn them on. Under
that sparse prior it pays to explain a pattern by few causes, each a pair of a pixel and its shifted copy; the whole
machine then goes on from there. (Greedy layer-wise training: Hinton, Osindero & Teh, Neural Computation 18, 2006.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from shifter_patterns import shift_of
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

SIZES = (32, 24, 2)
LEAK = 0.05
SOLVED_WITHIN = 0.25
"""Nats per pattern below the best machine known."""
SOLVED_ACCURACY = 0.99

Machine = tuple[BeliefNetwork, FactorialRecognition]


@dataclass(frozen=True)
class Recipe:
    """How a machine is trained.

    Args:
        layerwise: whether to begin with the lower two layers alone.
        recognition_bias: initial recognition bias of the first hidden layer; -3 begins with few units on.
        learning_rate: of Adam at the start; it falls to a tenth along a cosine.

    """

    layerwise: bool
    recognition_bias: float
    learning_rate: float


def new_machine(restarts: int, seed: int, imaging: str = "odds", *, sizes: tuple[int, ...] = SIZES) -> Machine:
    """A machine with the leaks of Fig. 4 and the library's initial weights."""
    hidden = len(sizes) - 1
    # a sigmoid turns on by itself, so that it has biases in the place of leaks
    fixed = (None, *[LEAK] * hidden) if imaging != "sigmoid" else None
    learned = (True, *[False] * (hidden - 1), hidden > 1) if imaging != "sigmoid" else True
    model = BeliefNetwork(sizes, imaging, restarts=restarts, fixed_leak=fixed, learned_leak=learned, seed=seed)
    return model, FactorialRecognition(sizes, restarts=restarts, seed=seed)


def train(
    scheme: helm.Scheme,
    recipe: Recipe,
    data: helm.Data,
    *,
    epochs: tuple[int, int],
    restarts: int,
    seed: int = 0,
    imaging: str = "odds",
    **settings: Any,
) -> tuple[Machine, pd.DataFrame]:
    """Train by a recipe, ``epochs`` of the lower layers and of the whole; the machine and the history of the whole.

    Settings go on to :func:`pyro_helm.fit`; by default it is 100 samples of the shifter to a step of Adam.
    """
    model, guide = new_machine(restarts, seed, imaging)
    _set_bias(guide, recipe.recognition_bias)
    of_lower, of_whole = epochs
    if recipe.layerwise:
        lower_model, lower_guide = new_machine(restarts, seed, imaging, sizes=SIZES[:2])
        _set_bias(lower_guide, recipe.recognition_bias)
        _fit(scheme, lower_model, lower_guide, data, of_lower, recipe.learning_rate, decay=False, seed=seed, **settings)
        model.generative[0].load_state_dict(lower_model.generative[0].state_dict())
        guide.recognition[0].load_state_dict(lower_guide.recognition[0].state_dict())
    else:
        of_whole += of_lower
    result = _fit(scheme, model, guide, data, of_whole, recipe.learning_rate, decay=True, seed=seed, **settings)
    return (model, guide), result.history


def polish(
    machine: Machine, scheme: helm.Scheme, data: helm.Data, *, epochs: int, learning_rate: float, seed: int = 0
) -> pd.DataFrame:
    """Go on training a machine, with a falling learning rate; the history."""
    return _fit(scheme, *machine, data, epochs, learning_rate, decay=True, seed=seed).history


def _fit(
    scheme: helm.Scheme,
    model: BeliefNetwork,
    guide: FactorialRecognition,
    data: helm.Data,
    epochs: int,
    learning_rate: float,
    *,
    decay: bool,
    seed: int,
    **settings: Any,
) -> helm.Result:
    schedule: Callable[[torch.optim.Optimizer], LRScheduler] | None = None
    if decay:

        def schedule(optimizer: torch.optim.Optimizer) -> LRScheduler:
            return CosineAnnealingLR(optimizer, epochs, eta_min=learning_rate / 10)

    adam: dict[str, Any] = {"learning_rate": learning_rate, "schedule": schedule}
    cases = settings.pop("cases", data.train)
    return helm.fit(
        model,
        guide,
        cases,
        scheme=scheme,
        num_epochs=epochs,
        seed=seed,
        dataset=data.name,
        progress=False,
        **({} if "optimizer" in settings else adam),
        **settings,
    )


def _set_bias(guide: FactorialRecognition, bias: float) -> None:
    with torch.no_grad():
        guide.recognition[0].learned_leak.fill_(bias)


def judge(machine: Machine, data: helm.Data, *, num_samples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Judge every restart: ``log_likelihood`` and ``stderr`` (nats per pattern, stochastic rule), and ``accuracy``."""
    assert data.distribution is not None
    model, guide = machine
    scores = helm.log_likelihood(
        model,
        guide,
        data.distribution.patterns,
        weights=data.distribution.probabilities,
        num_samples=num_samples,
        seed=seed,
    )
    table = scores.summary[["restart", "log_likelihood", "stderr"]].copy()
    table["accuracy"] = direction_accuracy(guide, data, seed=seed).tolist()
    return table


def solved(table: pd.DataFrame, best_known: float) -> pd.Series:
    """Which rows of a table of judgements solve the shifter."""
    return (table.log_likelihood >= best_known - SOLVED_WITHIN) & (table.accuracy >= SOLVED_ACCURACY)


def direction_accuracy(guide: FactorialRecognition, data: helm.Data, *, draws: int = 200, seed: int = 0) -> Tensor:
    """Probability that the shift of an unambiguous pattern can be read off the top layer, ``[restarts]``.

    The reading is linear: the top units' mean activities, projected on the line between the means of left-shifted and
    right-shifted patterns and compared with the best threshold. (The most probable state alone would not do: a good
    machine reads many patterns of a single pixel as *neither direction* more often than as theirs.)
    """
    assert data.distribution is not None
    assert data.image_shape is not None
    shift = shift_of(data.distribution.patterns, data.image_shape)
    kept = ~shift["ambiguous"]
    x, p = data.distribution.patterns[kept], data.distribution.probabilities[kept]
    left, right = p * shift["left"][kept], p * shift["right"][kept]
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        activity = torch.stack([guide({"x": x})[-1] for _ in range(draws)]).double().mean(0)
    activity = activity.reshape(guide.restarts, len(x), -1)
    axis = (left @ activity) / left.sum() - (right @ activity) / right.sum()
    order = (activity @ axis[:, :, None])[..., 0].argsort(-1)
    # left above the threshold, or right above it, for every threshold between two patterns
    above = left.sum() - left[order].cumsum(-1) + right[order].cumsum(-1)
    return torch.maximum(above, p.sum() - above).amax(-1) / p.sum()
