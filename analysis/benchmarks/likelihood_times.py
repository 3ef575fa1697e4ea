"""Log-likelihoods and dreams, per datum: ours, Pyro's, and what can't be avoided."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pyro
import torch
from pyro.infer.importance import vectorized_importance_weights
from torch import Tensor

from analysis.benchmarks.contenders import MATMULS, TORCH, row
from analysis.benchmarks.hand_written_torch import dream
from analysis.benchmarks.matmuls import Shape, multiply
from analysis.benchmarks.setting import NETS, Setting, Weights, data, programs, transposed, weights_of
from analysis.benchmarks.timing import Effort, Step, in_fresh_process, take_turns
from pyro_helm.guides import FactorialRecognition
from pyro_helm.latents.layer_states import levels, log_marginal, log_prior
from pyro_helm.likelihoods.ais import annealed_importance_sampling
from pyro_helm.likelihoods.exact import TERMS_AT_ONCE, exact_log_likelihood
from pyro_helm.likelihoods.importance import importance_sampling
from pyro_helm.models import BeliefNetwork

LARGE = (784, 200, 200, 200)
"""A net of the size that is used on images of digits."""

OURS, PYROS = "ours", "Pyro vectorized_importance_weights"


def measure(effort: Effort) -> list[dict[str, Any]]:
    """In a process of its own."""
    return _measure(effort) if effort.quick else in_fresh_process(_measure, effort)


def _measure(effort: Effort) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    rows = []
    for compare in (_importance, _exact, _ais, _dreams):
        method, number, setting, subjects = compare(effort)
        quick = {"block": 2, "uncounted": 0, "first_steps": 1} if effort.quick else {"block": 4, "uncounted": 1}
        timings = take_turns(subjects, seconds=effort.seconds, device=effort.device, **quick)
        labels = {**setting.labels, "scheme": method, "batch": number}
        rows += [
            row("likelihoods", who, timing.divided_by(number), effort, unit="datum", **labels)
            for who, timing in timings.items()
        ]
        print(f"likelihoods, {method}: done", flush=True)
    return rows


Comparison = tuple[str, int, Setting, dict[str, Callable[[], Step]]]
"""Its method, the number of data, the machine, and who takes part."""


def _importance(effort: Effort) -> Comparison:
    """Importance weights, against Pyro's own of one datum at a time, since it weighs all data of a call together."""
    number, samples = (3, 10) if effort.quick else (20 if effort.device == "cpu" else 200, 1000)
    sizes = (8, 6, 4) if effort.quick else LARGE
    setting = Setting("reweighted_wake_sleep", sizes, number, particles=samples, device=effort.device)
    model, guide = programs(setting)
    x = data(setting)[:number]
    return "importance", number, setting, {
        OURS: lambda: lambda: importance_sampling(model, guide, x, num_samples=samples),
        PYROS: lambda: lambda: pyros_log_likelihood(model, guide, x, samples),
    }  # fmt: skip


@torch.no_grad()
def pyros_log_likelihood(model: BeliefNetwork, guide: FactorialRecognition, x: Tensor, samples: int) -> Tensor:
    """Of each datum, by Pyro's importance weights, ``[data]``."""
    found = []
    for datum in x.split(1):
        log_weight, _, _ = vectorized_importance_weights(
            model, guide, observations={"x": datum}, num_samples=samples, max_plate_nesting=2
        )
        found.append(log_weight.logsumexp(0) - torch.tensor(float(samples)).log())
    return torch.stack(found)


def _exact(effort: Effort) -> Comparison:
    """The sum over all states, against the matrix products that it needs."""
    sizes = (8, 4, 4) if effort.quick else (64, 12, 12)
    number = 5 if effort.quick else 1000
    setting = Setting("reweighted_wake_sleep", sizes, number, device=effort.device)
    model, _ = programs(setting)
    x = torch.rand(number, sizes[0], device=effort.device).round()
    with torch.no_grad():
        top, lowest = levels(model, TERMS_AT_ONCE, x)

    def layers_by(way: Callable[[], Tensor]) -> Callable[[], Step]:
        return lambda: torch.no_grad()(way)

    return "exact", number, setting, {
        OURS: lambda: lambda: exact_log_likelihood(model, x),
        "hidden layers alone, ours": layers_by(lambda: log_prior(model.generative[1], top, TERMS_AT_ONCE)),
        "hidden layers alone, in log space": layers_by(
            lambda: log_marginal(model.generative[1], lowest.states, top, TERMS_AT_ONCE)
        ),
        MATMULS: lambda: multiply(products_of_exact(sizes, number), effort.device),
    }  # fmt: skip


def products_of_exact(sizes: tuple[int, ...], number: int) -> list[Shape]:
    """All states of a layer drive the one below, of which the data, or all states as pairs of halves, are scored."""
    visible, lowest, *_ = sizes
    products = [(2**lowest, lowest, visible), (number, visible, 2**lowest)]
    for below, above in pairwise(sizes[1:]):
        half = below // 2
        products += [(2**above, above, below), (2**half, 2**above, 2 ** (below - half))]
    return products


def _ais(effort: Effort) -> Comparison:
    """Annealed importance sampling."""
    number, steps = (3, 3) if effort.quick else (20, 30)
    setting = Setting("reweighted_wake_sleep", NETS["64-32-16"][0], number, particles=4, device=effort.device)
    model, guide = programs(setting)
    x = data(setting)[:number]
    return f"ais, {steps} steps", number, setting, {
        OURS: lambda: partial(
            annealed_importance_sampling, model, guide, x, num_chains=setting.particles, schedule=steps
        )
    }  # fmt: skip


def _dreams(effort: Effort) -> Comparison:
    """Data drawn from the model."""
    number = 10 if effort.quick else 1000
    setting = Setting("reweighted_wake_sleep", NETS["64-32-16"][0], number, particles=1, device=effort.device)
    model, guide = programs(setting)
    weights = Weights(*([transposed(value) for value in part] for part in weights_of(model, guide)))

    @torch.no_grad()
    def of_model() -> Tensor:
        with pyro.validation_enabled(False):
            units: Tensor = model(num_data=number)
        return units

    return "dreams", number, setting, {OURS: lambda: of_model, TORCH: lambda: lambda: dream(weights, (number,))}
