"""NVIL: the free energy by the score function, with a learned baseline for every site and normalised signals.

    f^s           = the terms of log p(x, h) - log q(h | x) that the draws of site s may influence
    signal^s      = (f^s - C^s(below) - c^s) / max(1, v^s)
    d(-F)/dphi    ~ mean_k sum_s signal_k^s d/dphi log q(h_k^s | x)
    d(-F)/dtheta  ~ mean_k d/dtheta log p(x, h_k)

Of any programs but the library's own pair, ``f^s`` is all terms (:mod:`pyro_helm.schemes.learning_signals`).
``C^s`` is a network of one hidden layer of tanh units that predicts ``f^s`` from what the site was drawn from: the
layer below, or the data; in other programs all earlier sites of the guide, and the data that were handed in as
``observations``. ``c^s`` and ``v^s`` are running mean and standard deviation of what is left. All three come from
earlier steps, so they are constants with respect to the current draws: without ``v`` the gradient is unbiased; with it,
that of each site is scaled by a common factor.

Mnih & Gregor, Neural variational inference and learning in belief networks, 2014, sections 2.3 to 2.5, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_helm.programs.memory import Memory
from pyro_helm.programs.pair import Programs
from pyro_helm.programs.particles import Particles
from pyro_helm.runtime.arguments import at_least_one, flag, number
from pyro_helm.schemes.base import Estimate, Scheme
from pyro_helm.schemes.learning_signals import (
    Dependencies,
    dependencies,
    impossible_data,
    in_shape_of,
    signals,
    without,
)
from pyro_helm.schemes.reinforce import surrogate_elbo


class NVIL(Scheme):
    """Gradient of the free energy for model and guide, with learned baselines; one particle will do.

    The baselines are the scheme's own: they are kept for each pair of model and guide, learn with their own Adam
    whenever a loss is made with gradients, and need nothing from the optimiser of the pair. A site that is seen from
    more or fewer values than before, since some are observed now say, has another baseline for these. Reparameterised
    sites get their pathwise gradient instead.

    A copy has learned the same. Pickled or loaded, baselines go to the first pair of programs that comes.

    Args:
        num_particles: draws per datum and restart.
        normalise: divide signals by their running standard deviation where that is above 1 nat.
        hidden_units: of each baseline network.
        learning_rate: of the baselines' Adam.
        decay: of running mean and variance, per step.

    Raises:
        ValueError: for settings out of range; in training, for programs that are made anew at every step.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> NVIL().loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "nvil"
    captures = False  # it remembers the steps before

    def __init__(
        self,
        num_particles: int = 1,
        *,
        normalise: bool = True,
        hidden_units: int = 100,
        learning_rate: float = 1e-3,
        decay: float = 0.8,
    ) -> None:
        super().__init__(num_particles)
        self.hidden_units = at_least_one("hidden_units", hidden_units)
        if not number("learning_rate", learning_rate) > 0:
            raise ValueError(f"learning_rate must be positive, got {learning_rate}")
        if not 0 <= number("decay", decay) < 1:
            raise ValueError(f"decay must be from 0 to below 1, got {decay}")
        self.normalise = flag("normalise", normalise)
        self.learning_rate = learning_rate
        self.decay = decay
        self._baselines = Memory("NVIL")

    def forget(self) -> None:
        """Keep no baselines of any pair."""
        self._baselines.load({})

    def state_dict(self) -> dict[str, Tensor]:
        """What all baselines have learned of the one pair in use, tensors ``[...]`` by ``"part/site and shape"``.

        Raises:
            ValueError: if it has been used on several pairs.

        """
        baselines = self._baselines.only()
        return {
            f"{part}/{key}": value for key, baseline in baselines.items() for part, value in baseline.state().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up the tensors ``[...]`` of a :meth:`state_dict`; the first pair of programs goes on with them.

        Raises:
            ValueError: for a state of something else.

        """
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in state.items():
            part, _, key = name.partition("/")
            parts.setdefault(key, {})[part] = value
        if any(known.keys() not in (set(_STATISTICS), {*_STATISTICS, *_NETWORK}) for known in parts.values()):
            raise ValueError(f"this is no state of NVIL: it holds {', '.join(sorted(state)[:3])}")
        self._baselines.load({key: _Baseline(self.learning_rate, known) for key, known in parts.items()})

    def estimate(self, programs: Programs) -> Estimate:
        """Minus the free energy F, summed over the data, ``[restarts]``, in nats."""
        particles = programs.draw_from_guide(self.num_particles, pathwise=True, shared=True)
        known = dependencies(particles, programs)
        bound = particles.elbo.mean(0)
        impossible = {} if known.declared else impossible_data(particles)
        particles = without(particles, impossible) if impossible else particles
        baselines = self._baselines.of(programs.model, programs.guide)
        judged = {}
        for site, signal in signals(particles, known).items():
            # per datum, so that neither a baseline nor the normalisation sees how many data a minibatch stands for
            counts = particles.count_of(site)
            scale = counts.to(signal) if isinstance(counts, Tensor) else signal.new_full((), counts)
            per_datum = signal / torch.where(scale == 0, 1.0, scale)
            below = _inputs(particles, site, known, programs.kwargs.get("observations"))
            key = f"{site}, {0 if below is None else below.shape[-1]} inputs, {signal.shape[-2]} restarts"
            if key not in baselines:
                baselines[key] = _Baseline(self.learning_rate, _initial(self.hidden_units, per_datum, below))
            baseline: _Baseline = baselines[key]
            # in the dtype and on the device that it has learned in
            per_datum, below = per_datum.to(baseline.mean), None if below is None else below.to(baseline.mean)
            prediction = baseline.predict(below)
            if particles.plates[site] in impossible:  # a datum of which nothing is learned is as was expected
                never = in_shape_of(per_datum, impossible[particles.plates[site]])
                per_datum = torch.where(never, (baseline.mean + prediction).detach(), per_datum)
            centred, variance = baseline.centre(per_datum - prediction.detach())
            judged[site] = scale * (centred / (variance.sqrt().clamp(min=1) if self.normalise else 1.0)).to(signal)
            if torch.is_grad_enabled():
                baseline.learn(per_datum, prediction, self.decay)
        surrogate = surrogate_elbo(particles, judged)
        return Estimate(bound, surrogate.mean(0))


_STATISTICS = ("mean", "variance", "steps")
_WEIGHTS = ("into", "shift", "out", "level")
_NETWORK = tuple(f"{weight}{part}" for weight in _WEIGHTS for part in ("", ".exp_avg", ".exp_avg_sq"))


def _initial(hidden_units: int, signal: Tensor, below: Tensor | None) -> dict[str, Tensor]:
    """State of a baseline that has learned nothing."""
    restarts = signal.shape[-2]
    state = {"mean": signal.new_zeros(restarts, 1), "variance": signal.new_zeros(restarts, 1), "steps": torch.tensor(0)}
    if below is None:
        return state
    # the same for every restart and in every run; the output starts at 0
    generator = torch.Generator().manual_seed(0)
    into = torch.randn(below.shape[-1], hidden_units, generator=generator) / below.shape[-1] ** 0.5
    state["into"] = into.to(signal).expand(restarts, -1, -1)
    state["shift"] = signal.new_zeros(restarts, 1, hidden_units)
    state["out"] = signal.new_zeros(restarts, hidden_units, 1)
    state["level"] = signal.new_zeros(restarts, 1, 1)
    moments = {f"{name}.{part}": state[name] * 0 for name in _WEIGHTS for part in ("exp_avg", "exp_avg_sq")}
    return state | moments


class _Baseline:
    """Prediction of one site's signal, for every restart by itself."""

    def __init__(self, learning_rate: float, state: Mapping[str, Tensor]) -> None:
        self.mean, self.variance = state["mean"].clone(), state["variance"].clone()
        self.steps = int(state["steps"])
        self.weights = [state[name].clone().requires_grad_() for name in _WEIGHTS if name in state]
        if self.weights:
            self.descent = torch.optim.Adam(self.weights, lr=learning_rate)
            for name, weight in zip(_WEIGHTS, self.weights, strict=True):
                moments = {part: state[f"{name}.{part}"].clone() for part in ("exp_avg", "exp_avg_sq")}
                self.descent.state[weight] = {"step": torch.tensor(float(self.steps)), **moments}

    def state(self) -> dict[str, Tensor]:
        """What it has learned, from which another goes on as it would."""
        state = {"mean": self.mean, "variance": self.variance, "steps": torch.tensor(self.steps)}
        for name, weight in zip(_WEIGHTS, self.weights, strict=False):
            state[name] = weight.detach()
            state |= {f"{name}.{part}": self.descent.state[weight][part] for part in ("exp_avg", "exp_avg_sq")}
        return {part: value.clone() for part, value in state.items()}

    @property
    def is_new(self) -> bool:
        """Whether it has learned nothing yet."""
        return self.steps == 0

    def predict(self, below: Tensor | None) -> Tensor:
        """``C(below)``, ``[particles, restarts, data]``; 0 where there is nothing to predict from."""
        if below is None:
            return self.mean.new_zeros(())
        into, shift, out, level = self.weights
        predicted: Tensor = (torch.tanh(below @ into + shift) @ out + level).squeeze(-1)
        return predicted

    def centre(self, left: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of a signal less its running mean, and the running variance ``[restarts, 1]``.

        In the first step the mean of the other draws takes the running mean's place, which leaves the gradient unbiased
        too: raw signals would dominate the moments of an optimiser such as Adam for hundreds of steps.
        """
        count = left.shape[0] * left.shape[-1]
        if not self.is_new or count == 1:
            return left - self.mean, self.variance
        mean = left.mean((0, -1))[:, None]
        return (left - mean) * (count / (count - 1)), left.var((0, -1))[:, None]

    def learn(self, signal: Tensor, prediction: Tensor, decay: float) -> None:
        """Move mean and variance towards those of this step, and the network towards the signal."""
        left = signal - prediction.detach()
        mean = left.mean((0, -1))[:, None]
        variance = left.var((0, -1), correction=0)[:, None]
        decay = 0.0 if self.is_new else decay
        if self.weights:
            loss = (signal - self.mean - prediction).square().mean((0, -1)).sum()
            gradients = torch.autograd.grad(loss, self.weights)
            for weight, gradient in zip(self.weights, gradients, strict=True):
                weight.grad = gradient
            self.descent.step()
        self.mean = decay * self.mean + (1 - decay) * mean
        self.variance = decay * self.variance + (1 - decay) * variance
        self.steps += 1


def _inputs(particles: Particles, site: str, known: Dependencies, observations: Any) -> Tensor | None:
    """What a site was drawn from, ``[particles, restarts, data, features]``; None for a site that all data share."""
    if site in particles.shared:
        return None
    # a layer that is observed is no site of the guide, but of what the site above was drawn from
    sites = {**particles.model_sites, **particles.guide_sites}
    below = [sites[name] for name in known.drawn_from(site)]
    if known.declared and not below:
        below = [node for node in particles.model_sites.values() if node["is_observed"]]
    parts = []
    for node in below:
        if particles.plates[node["name"]] != particles.plates[site] or not isinstance(node["value"], Tensor):
            continue
        value = node["value"].detach()
        batch = value.shape[: value.dim() - node["fn"].event_dim]
        parts.append(value.reshape(*(1,) * (3 - len(batch)), *batch, -1))
    if not known.declared:
        parts += _handed_in(particles, observations, particles.log_q[site].shape[-1])
    if not parts:
        return None
    widest = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    features = torch.cat([part.expand(*widest, -1) for part in parts], dim=-1)
    # a missing pixel says nothing
    return features.nan_to_num().to(particles.log_q[site])


def _handed_in(particles: Particles, observations: Any, num_data: int) -> list[Tensor]:
    """The data of the caller, each ``[1, 1, data, features]``.

    Not the values of observed sites, which a program may have computed from its draws: a baseline of those is a bias.
    """
    parts = []
    for value in observations.values() if isinstance(observations, Mapping) else ():
        if not isinstance(value, Tensor) or value.dim() == 0:
            continue
        for rows in particles.minibatch.values():
            if len(rows) == num_data < len(value):
                value = value[rows]
        if len(value) == num_data:
            parts.append(value.detach().reshape(1, 1, num_data, -1))
    return parts
