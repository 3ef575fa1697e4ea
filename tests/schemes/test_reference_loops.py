"""Schemes against training loops written by hand: from equal initial values, at equal steps, they reach no less.

Restarts are paired: each starts from the same values on both sides and sees the same minibatches. Most loops happen to
draw in the order of the scheme, and so the same random numbers; those differ by rounding alone, the others by chance. A
scheme may be better than its loop, but not worse than the spread over restarts explains. The longer version runs with
``pytest -m slow``, and prints its table with ``-s``.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from tests.reference_loops import BATCH_SIZE, LOSSES, net_of, train, write_into

PARTICLES = 5
Z_THRESHOLD = 3
SAMPLED = [name for name, scheme in helm.SCHEMES.items() if scheme.samples]


@dataclass(frozen=True)
class Case:
    """A data set, a net, and how long and how often it is trained."""

    dataset: str
    sizes: tuple[int, ...]
    steps: int
    restarts: int
    tolerance: float
    """Nats per datum that a scheme may be worse by, on top of chance: restarts are too few to know their spread."""
    fewer: tuple[tuple[str, int], ...] = ()
    """Restarts of schemes that take long."""
    learning_rate: float = 0.01


# exact EM has no noise but for rounding, so that two restarts are enough
QUICK = Case("bars", (16, 5, 2), steps=40, restarts=8, tolerance=0.02, fewer=(("exact_em", 2),), learning_rate=0.04)
SLOW = [
    Case("shifter", (32, 24, 2), steps=1000, restarts=4, tolerance=0.05),
    Case("digits", (64, 32, 16), steps=1000, restarts=4, tolerance=0.05),
    Case("ocr_letters", (128, 40, 20), steps=1000, restarts=4, tolerance=0.05, fewer=(("gibbs", 2),)),
]


def machine(case: Case, restarts: int) -> tuple[BeliefNetwork, FactorialRecognition]:
    return (
        BeliefNetwork(case.sizes, restarts=restarts, seed=0),
        FactorialRecognition(case.sizes, restarts=restarts, seed=0),
    )


def score(case: Case, data: helm.Data, model: BeliefNetwork, guide: FactorialRecognition) -> Tensor:
    """Log-likelihood of each restart in nats per datum: exact where that is cheap, else with 1000 samples."""
    listed = data.distribution
    cases, weights = (data.test[:500], None) if listed is None else (listed.patterns, listed.probabilities)
    method = "exact" if sum(case.sizes[1:]) <= 10 else "importance"
    scores = helm.log_likelihood(model, guide, cases, method=method, num_samples=1000, weights=weights)
    return torch.tensor(scores.summary.log_likelihood.to_numpy())


loaded = cache(helm.load_data)


@cache
def before_training(case: Case, restarts: int) -> Tensor:
    return score(case, loaded(case.dataset), *machine(case, restarts))


def compare(case: Case, name: str) -> None:
    data = loaded(case.dataset)
    rows = BATCH_SIZE * case.steps
    passes = math.ceil(rows / len(data.train))
    cases = data.train.repeat(passes, 1)[:rows]  # one pass of both, so that the minibatches are the same
    restarts = dict(case.fewer).get(name, case.restarts)

    model, guide = machine(case, restarts)
    before = before_training(case, restarts)
    scheme = helm.SCHEMES[name]() if name not in SAMPLED else helm.SCHEMES[name](num_particles=PARTICLES)
    settings: dict[str, Any] = {
        "learning_rate": case.learning_rate,
        "batch_size": BATCH_SIZE,
        "num_epochs": 1,
        "seed": 1,
    }
    helm.fit(model, guide, cases, scheme=scheme, progress=False, **settings)
    ours = score(case, data, model, guide)

    model, guide = machine(case, restarts)
    net = net_of(model, guide)
    train(net, LOSSES[name](), cases, particles=PARTICLES, learning_rate=case.learning_rate, seed=1)
    write_into(net, model, guide)
    theirs = score(case, data, model, guide)

    difference = ours - theirs
    mean, error = float(difference.mean()), float(difference.std() / restarts**0.5)
    line = (
        f"{case.dataset} {name}: ours {float(ours.median()):.3f}, by hand {float(theirs.median()):.3f}, "
        f"difference {mean:+.4f} with standard error {error:.4f} over {restarts} restarts"
    )
    print(line)
    assert float((ours - before).min()) > 0.5, f"{line}: ours have hardly learned from {before.tolist()}"
    assert mean > -(Z_THRESHOLD * error + case.tolerance), line


@pytest.mark.parametrize("name", LOSSES)
def test_reaches_what_a_loop_by_hand_reaches(name: str) -> None:
    compare(QUICK, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "exact_em"])  # too many states
@pytest.mark.parametrize("case", SLOW, ids=lambda case: case.dataset)
def test_reaches_it_on_larger_nets_too(case: Case, name: str) -> None:
    folder = os.environ.get("PYRO_HELM_DATA")
    if case.dataset == "ocr_letters" and not (folder and (Path(folder) / "ocr_letters.npz").exists()):
        pytest.skip("PYRO_HELM_DATA has no ocr_letters.npz")
    compare(case, name)


def test_a_net_written_back_unchanged_changes_nothing() -> None:
    first, second = machine(QUICK, 2), machine(QUICK, 2)
    before, after = ([*model.parameters(), *guide.parameters()] for model, guide in (first, second))
    for parameter in after:
        torch.nn.init.zeros_(parameter)
    write_into(net_of(*first), *second)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
