"""The step that ``fit`` takes."""

from __future__ import annotations

import torch
from torch import Tensor

import pyro_helm as helm
from analysis.benchmarks.setting import Setting, Trainer, as_they_are, data, programs, weights_of
from pyro_helm.layers.missing import known_missing
from pyro_helm.training.restarts import Restarts
from pyro_helm.training.settings import FUSED_ADAM
from pyro_helm.training.steps import training_step


def eager(setting: Setting) -> Trainer:
    """Every step runs the programs."""
    return _of_kind("eager", setting)


def captured(setting: Setting) -> Trainer:
    """Every step replays the tensor operations of one run."""
    return _of_kind("captured", setting)


def compiled(setting: Setting) -> Trainer:
    """Every step replays them fused by torch's compiler."""
    return _of_kind("compiled", setting)


def _of_kind(kind: str, setting: Setting) -> Trainer:
    model, guide = programs(setting)
    parameters = [*model.parameters(), *guide.parameters()]
    scheme = helm.SCHEMES[setting.scheme](num_particles=setting.particles)
    cases = data(setting)
    restarts = Restarts(parameters, setting.restarts)
    bound = torch.zeros(setting.restarts, device=setting.device)

    def losses(rows: Tensor) -> Tensor:
        with known_missing(False):  # as in fit
            return scheme.restart_losses(model, guide, observations={"x": cases[rows]})

    descend = training_step(kind, losses, parameters, FUSED_ADAM(parameters), restarts.guard, settings_change=False)

    def step(rows: Tensor) -> None:
        nonlocal bound
        bound -= descend(rows)

    return Trainer(step, as_they_are, lambda: weights_of(model, guide))
