"""How the shifter machines of the paper's table are trained, and how they are judged.

The architecture is that of Fig. 4 of Dayan, Hinton, Neal & Zemel 1995: three layers, 32 pixels below and two units on
top; fixed tiny biases of 0.05 in layers 2 and 3, learned ones to layer 3 besides. The 24 units of layer 2 and the
learned leaks of the pixels are ours: the text says nothing of either.

Two starts are compared. *At once*: all layers from their initial values. *Layer by layer*: the pixels and the layer
above them first, as a machine of two layers whose hidden units have nothing but the leak of 0.05 to turn them on. Under
that sparse prior it pays to explain a pattern by few causes, each a pair of a pixel and its shifted copy; the whole
machine then goes on from there. (Greedy layer-wise training: Hinton, Osindero & Teh, Neural Computation 18, 2006.)
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyro
import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

import pyro_helm as helm
from analysis.paper.shifter_patterns import shift_of
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

SIZES = (32, 24, 2)
LEAK = 0.05
SOLVED_WITHIN = 0.25
"""Nats per pattern below the best machine known."""
SOLVED_ACCURACY = 0.99

Machine = tuple[BeliefNetwork, FactorialRecognition]


def new_machine(
    restarts: int,
    seed: int,
    imaging: str = "odds",
    *,
    sizes: tuple[int, ...] = SIZES,
    bias: float | None = None,
    pixel_leak: float | None = None,
) -> Machine:
    """A machine with the leaks of Fig. 4 and the library's initial weights.

    ``bias`` is where the recognition biases of layer 2 begin, ``pixel_leak`` where the leaks of the pixels do; None for
    the library's.
    """
    hidden = len(sizes) - 1
    # a sigmoid's leak is a logit
    leak = math.log(LEAK) if imaging == "sigmoid" else LEAK
    fixed, learned = (None, *[leak] * hidden), (True, *[False] * (hidden - 1), hidden > 1)
    begins: dict[str, Any] = {"restarts": restarts, "seed": seed}
    leaks: dict[str, Any] = {
        "fixed_leak": fixed,
        "learned_leak": learned,
        "initial_leak": (pixel_leak, *[None] * hidden),
    }
    model = BeliefNetwork(sizes, imaging, **leaks, **begins)
    return model, FactorialRecognition(sizes, initial_bias=(bias, *[None] * (hidden - 1)), **begins)


def shifter_machine(width: int, *, seed: int, restarts: int, imaging: str) -> Machine:
    """The machine of a study's runs."""
    assert width == SIZES[0]
    return new_machine(restarts, seed, imaging)


def train_by_recipe(
    model: BeliefNetwork,
    guide: FactorialRecognition,
    data: Any,
    *,
    scheme: helm.Scheme,
    layerwise: bool,
    recognition_bias: float,
    learning_rate: float,
    lower_epochs: int,
    num_epochs: int,
    then: helm.Scheme | None = None,
    then_epochs: int = 5,
    valid: Any = None,
    out: Path | None = None,
    **settings: Any,
) -> helm.Result:
    """Train by a recipe, in stages: the lower layers if it says so, the whole, and another scheme if one goes on.

    A training like :func:`pyro_helm.fit`, for studies. Validation data are not used: the last parameters are kept.

    Args:
        model: of the shifter.
        guide: likewise.
        data: samples, or their distribution.
        scheme: of all stages but that of ``then``.
        layerwise: whether to begin with the lower two layers alone.
        recognition_bias: initial recognition bias of the first hidden layer; -3 begins with few units on.
        learning_rate: of Adam at the start; it falls to a tenth along a cosine. Of ``then`` it is 0.01.
        lower_epochs: of the lower layers, or more of the whole where that begins at once.
        num_epochs: of the whole.
        then: scheme that goes on.
        then_epochs: of it.
        valid: left aside.
        out: folder of the run; stages before the last have folders of their own in it.
        settings: further ones of :func:`pyro_helm.fit`.

    """
    _set_bias(guide, recognition_bias)
    whole = [(scheme, num_epochs + (0 if layerwise else lower_epochs), learning_rate)]
    whole += [] if then is None else [(then, then_epochs, 0.01)]
    is_adam = "optimizer" not in settings
    stages = [
        helm.Stage(each, epochs, **({"learning_rate": rate, "schedule": _falling(rate, epochs)} if is_adam else {}))
        for each, epochs, rate in whole
    ]
    if layerwise:
        stages.insert(0, helm.Stage(scheme, lower_epochs, layers=2, learning_rate=learning_rate if is_adam else None))
    common: dict[str, Any] = {"seed": 0, "progress": False, **settings}
    return helm.fit_in_stages(model, guide, data, stages=stages, out=out, **common)


def polish(
    machine: Machine, scheme: helm.Scheme, data: helm.Data, *, epochs: int, learning_rate: float, seed: int = 0
) -> None:
    """Go on training a machine, with a falling learning rate."""
    falling = _falling(learning_rate, epochs)
    settings: dict[str, Any] = {"num_epochs": epochs, "learning_rate": learning_rate, "schedule": falling}
    helm.fit(*machine, data.train, scheme=scheme, seed=seed, progress=False, **settings)


def _falling(learning_rate: float, epochs: int) -> Any:
    """To a tenth of the learning rate, along a cosine."""
    return partial(CosineAnnealingLR, T_max=epochs, eta_min=learning_rate / 10)


def _set_bias(guide: FactorialRecognition, bias: float) -> None:
    with torch.no_grad():
        guide.recognition[0].learned_leak.fill_(bias)


def accuracy_of(model: BeliefNetwork, guide: FactorialRecognition, data: helm.Data, *, seed: int) -> pd.DataFrame:
    """What a study measures besides log-likelihoods: :func:`direction_accuracy` of every restart."""
    values = direction_accuracy(guide, data, seed=seed).tolist()
    return pd.DataFrame({"restart": range(len(values)), "metric": "accuracy", "value": values})


def accuracy_of_few_draws(
    model: BeliefNetwork, guide: FactorialRecognition, data: helm.Data, *, seed: int
) -> pd.DataFrame:
    """As :func:`accuracy_of`, to see that all works."""
    values = direction_accuracy(guide, data, draws=10, seed=seed).tolist()
    return pd.DataFrame({"restart": range(len(values)), "metric": "accuracy", "value": values})


def judged(study: helm.Study) -> pd.DataFrame:
    """One row per run and restart of a study: labels, settings, ``log_likelihood``, ``accuracy``, ``seconds``."""
    if study.interrupted is not None:  # the same command goes on
        raise SystemExit(128 + study.interrupted)
    table = study.table()
    index = ["run", "scheme", "imaging", *study.varied, "restart", "seconds"]
    return table.set_index([*index, "metric"]).value.unstack("metric").reset_index()


def judge(
    machine: Machine, data: helm.Data, *, num_samples: int = 1000, draws: int = 200, seed: int = 0
) -> pd.DataFrame:
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
    table["accuracy"] = direction_accuracy(guide, data, draws=draws, seed=seed).tolist()
    return table


def solved(table: pd.DataFrame, best_known: float) -> pd.Series:
    """Which rows of a table of judgements solve the shifter."""
    return (table.log_likelihood >= best_known - SOLVED_WITHIN) & (table.accuracy >= SOLVED_ACCURACY)


def direction_accuracy(guide: FactorialRecognition, data: helm.Data, *, draws: int = 200, seed: int = 0) -> Tensor:
    """Probability that the shift of an unambiguous pattern can be read off the top layer, ``[restarts]``.

    The reading is linear: the top units' mean activities over ``draws``, projected on the line between the means of
    left-shifted and right-shifted patterns and compared with a threshold. Line and threshold are chosen on one set of
    draws, and the reading is judged on another. (The most probable state alone would not do: a good machine reads many
    patterns of a single pixel as *neither direction* more often than as theirs.)
    """
    x, left, right = unambiguous(data)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        chosen_on, judged_on = (_mean_activity(guide, x, draws) for _ in range(2))
    axis = (left @ chosen_on) / left.sum() - (right @ chosen_on) / right.sum()
    place, judged = ((activity @ axis[:, :, None])[..., 0] for activity in (chosen_on, judged_on))
    threshold, left_above = best_threshold(place, left, right)
    read_left = (judged > threshold) == left_above
    return (torch.where(read_left, left, right)).sum(-1) / (left + right).sum()


def unambiguous(data: helm.Data) -> tuple[Tensor, Tensor, Tensor]:
    """Patterns ``[data, units]`` of one direction, and the probability ``[data]`` of each if it is left, or right."""
    assert data.distribution is not None
    assert data.image_shape is not None
    shift = shift_of(data.distribution.patterns, data.image_shape)
    kept = ~shift["ambiguous"]
    x, p = data.distribution.patterns[kept], data.distribution.probabilities[kept]
    return x, p * shift["left"][kept], p * shift["right"][kept]


def free_energies(scheme: helm.Scheme, machine: Machine, distribution: helm.PatternDistribution | None) -> Tensor:
    """A scheme's own loss of the exact distribution, nats per pattern, ``[restarts]``."""
    assert distribution is not None
    with torch.no_grad(), pyro.poutine.scale(scale=distribution.probabilities):
        return scheme.restart_losses(*machine, observations={"x": distribution.patterns}).double()


def _mean_activity(guide: FactorialRecognition, x: Tensor, draws: int) -> Tensor:
    """Mean of the top layer over draws, ``[restarts, data, units]``."""
    total = sum(guide({"x": x})[-1] for _ in range(draws))
    assert isinstance(total, Tensor)
    return total.double().reshape(guide.restarts, len(x), -1) / draws


def best_threshold(place: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The place ``[restarts, 1]`` above which patterns are best read as of one direction, and whether that is left.

    It is midway between two patterns, so that neither is misread for the noise of other draws.
    """
    ordered, order = place.sort(-1)
    above = left.sum() - left[order].cumsum(-1) + right[order].cumsum(-1)
    below = left.sum() + right.sum() - above
    # patterns at the same place can't be told apart; nor is there anything above the last
    ends = torch.cat([ordered.diff(dim=-1) > 0, torch.ones_like(ordered[:, :1], dtype=torch.bool)], -1)
    score = torch.where(ends, torch.maximum(above, below), 0.0)
    best = score.argmax(-1, keepdim=True)
    midway = (ordered + torch.cat([ordered[:, 1:], ordered[:, -1:]], -1)) / 2
    return midway.gather(-1, best), above.gather(-1, best) >= below.gather(-1, best)
