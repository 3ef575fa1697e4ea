"""Pyro's own estimators, through its own SVI, on our model and guide."""

from __future__ import annotations

import pyro
from pyro.infer import ELBO, SVI, ReweightedWakeSleep, Trace_ELBO, TraceGraph_ELBO
from torch import Tensor

from analysis.benchmarks.setting import LEARNING_RATE, Setting, Trainer, as_they_are, data, programs, weights_of


def reweighted_wake_sleep(setting: Setting) -> Trainer:
    """Weights are of a whole minibatch, where ours are of each datum: the work is the same, the gradient is not."""
    return _trained_by(ReweightedWakeSleep(**_vectorised(setting)), setting)


def trace_graph_elbo(setting: Setting) -> Trainer:
    """Score function with what each site can influence."""
    return _trained_by(TraceGraph_ELBO(**_vectorised(setting)), setting)


def trace_elbo(setting: Setting) -> Trainer:
    """Score function with what is under the plates of each site."""
    return _trained_by(Trace_ELBO(**_vectorised(setting)), setting)


def _vectorised(setting: Setting) -> dict[str, int | bool]:
    return {"num_particles": setting.particles, "vectorize_particles": True, "max_plate_nesting": 2}


def _trained_by(loss: ELBO, setting: Setting) -> Trainer:
    model, guide = programs(setting)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": LEARNING_RATE}), loss=loss)
    cases = data(setting)

    def step(rows: Tensor) -> None:
        svi.step(observations={"x": cases[rows]})

    return Trainer(step, as_they_are, lambda: weights_of(model, guide))
