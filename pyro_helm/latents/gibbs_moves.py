"""Gibbs moves of the hidden units of binary hierarchies, under their posterior or anything between it and a guide.

    log f_b(h) = sum over factors of power_b log p(child layer | parent layer),   power_b = (1 - b) start + b end

A network is its factors. From the guide, those of the guide fade out while those of the model fade in; from the prior,
the model's hidden layers stand and ``p(x | h1)`` fades in; at ``b = 1`` either is the posterior. In a Gibbs move each
unit in turn is drawn given all others under ``f_b``, whatever the imaging model: its own factors give a logit, and each
child of it the difference of its log-probability with the unit on and off.

Any other program is scored once for each block of units, with all states of the block side by side as particles.

Neal, Connectionist learning of belief networks, Artificial Intelligence 56, 1992.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pyro.distributions import constraints
from torch import Tensor

from pyro_helm.guides.bottom_up import BottomUp
from pyro_helm.layers import Imaging
from pyro_helm.layers.missing import has_missing
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.discrete import elementwise, num_values
from pyro_helm.programs.labels import side_by_side
from pyro_helm.programs.layered import site_names
from pyro_helm.programs.particles import Program, score
from pyro_helm.programs.rows import is_own


class Factor(NamedTuple):
    """``p(child layer | parent layers)`` and its powers at either end of the path; layer 0 is the data.

    ``weights`` are those from each parent, of which the child itself is one where it has lateral connections. Units of
    the child layer that are not ``observed`` are left out; None where none is missing. The ``label`` of a condition,
    one-hot, is in the leak.
    """

    layer: Imaging
    weights: Mapping[int, Tensor]
    leak: Tensor
    child: int
    start: float
    end: float
    observed: Tensor | None = None
    label: Tensor | None = None

    def power(self, beta: float) -> float:
        """At one point of the path."""
        return (1 - beta) * self.start + beta * self.end

    def drive(self, units: Sequence[Tensor]) -> Tensor:
        """Of the child layer, ``[chains, restarts, data, units]``."""
        drive = self.leak
        for parent, weight in self.weights.items():
            drive = units[parent] @ weight + drive
        return drive

    def log_prob(self, drive: Tensor, units: Sequence[Tensor]) -> Tensor:
        """Of the child layer, ``[chains, restarts, data]``."""
        return self.layer.log_prob(drive, units[self.child], self.observed)

    def turned_over(self, drive: Tensor, parent: int, unit: int, value: Tensor) -> Tensor:
        """The drive with a unit of a parent layer flipped, from a value ``[..., 1]`` to the other."""
        other = torch.addcmul(drive, 1 - 2 * value, self.weights[parent][:, unit, None, :])
        # weights that are positive by their constraint: below the leak there is only rounding
        return other if self.layer.constraint is constraints.real else torch.maximum(other, self.leak)


def path_dtype(model: BeliefNetwork) -> torch.dtype:
    """Double precision where drives are sums of positive terms: a large one that is taken off leaves its rounding."""
    are_real = all(layer.constraint is constraints.real for layer in model.generative)
    return model.generative[0].leak.dtype if are_real else torch.float64


def factors(model: BeliefNetwork, guide: BottomUp | None, label: Tensor | None = None) -> list[Factor]:
    """The path from the guide to the posterior, or without a guide that from the prior.

    Args:
        model: of binary hidden layers.
        guide: its guide, or None.
        label: that both are conditioned on, one-hot, ``[..., data, labels]``; None without a condition.

    """
    dtype, names = path_dtype(model), site_names(model.sizes)
    path = []
    for child, layer in enumerate(model.generative):
        stands = guide is None and child > 0
        parents = [names.index(name) for name in model.parents[names[child]]]
        path.append(_factor(layer, parents, model.sizes, child, (1.0 if stands else 0.0, 1.0), dtype, label))
    for parent, layer in enumerate([] if guide is None else guide.recognition):
        path.append(_factor(layer, [parent], model.sizes, parent + 1, (1.0, 0.0), dtype, label))
    return path


def _factor(
    layer: Imaging,
    parents: list[int],
    sizes: Sequence[int],
    child: int,
    powers: tuple[float, float],
    dtype: torch.dtype,
    label: Tensor | None,
) -> Factor:
    weights: dict[int, Tensor] = {}
    leak = layer.leak.to(dtype)
    causes = [sizes[parent] for parent in parents] + ([] if label is None else [label.shape[-1]])
    if causes:
        split = layer.weight.to(dtype).split(causes, dim=-2)
        weights = dict(zip(parents, split, strict=False))  # the last are the label's
        leak = leak if label is None else label.to(dtype) @ split[-1] + leak
    if layer.blocks:
        weights[child] = (layer.lateral * layer.earlier).to(dtype)
    return Factor(layer, weights, leak, child, *powers, label=label)


def without_missing_units(path: Sequence[Factor], x: Tensor) -> tuple[Sequence[Factor], Tensor]:
    """The path where units of the data ``[data, units]`` are missing (NaN), and the data with 0 in their place.

    The model's factors of those units are left out, and the guide's first layer sees that they are missing.
    """
    if not has_missing(x):
        return path, x
    observed = ~x.isnan()
    seen = []
    for factor in path:
        if factor.child == 0:
            factor = factor._replace(observed=observed)
        elif 0 in factor.weights:
            others = {parent: weight for parent, weight in factor.weights.items() if parent}
            causes = side_by_side([x, *([] if factor.label is None else [factor.label])])
            assert causes is not None
            drive = factor.layer.drive(causes.to(factor.layer.leak))
            factor = factor._replace(weights=others, leak=drive.to(factor.leak))
        seen.append(factor)
    return seen, torch.where(observed, x, 0.0)


def gibbs(path: Sequence[Factor], units: list[Tensor], level: int, beta: float) -> None:
    """Draw each unit of a layer in turn, given all others, under ``f_beta``; ``units[level]`` is replaced."""
    values = units[level].clone()
    at_work = [(factor, factor.power(beta)) for factor in path if factor.power(beta)]
    logits = torch.zeros_like(values)
    for factor, power in at_work:
        if factor.child == level and level not in factor.weights:
            logits += power * factor.layer.distribution(factor.drive(units)).logits
    followed = [
        (factor, power, drive := factor.drive(units), factor.log_prob(drive, units))
        for factor, power in at_work
        if level in factor.weights
    ]
    is_lateral = any(factor.child == level for factor, *_ in followed)
    uniform = torch.rand_like(values)
    for unit in range(values.shape[-1]):
        logit, value = logits[..., unit], values[..., unit].clone()
        # with lateral connections a layer's own log-probability follows its unit as those of the layers below do
        turned = _with_unit_turned(units, level, values, unit) if is_lateral else units
        tried = []
        for factor, power, drive, log_prob in followed:
            other = factor.turned_over(drive, level, unit, value[..., None])
            log_other = factor.log_prob(other, turned if factor.child == level else units)
            logit = logit + power * (1 - 2 * value) * (log_other - log_prob)
            tried.append((other, log_other))
        values[..., unit] = (uniform[..., unit] < torch.sigmoid(logit)).to(values)
        turns = values[..., unit] != value
        followed = [
            (factor, power, torch.where(turns[..., None], other, drive), torch.where(turns, log_other, log_prob))
            for (factor, power, drive, log_prob), (other, log_other) in zip(followed, tried, strict=True)
        ]
    units[level] = values


def _with_unit_turned(units: Sequence[Tensor], level: int, values: Tensor, unit: int) -> list[Tensor]:
    turned = values.clone()
    turned[..., unit] = 1 - turned[..., unit]
    return [turned if layer == level else other for layer, other in enumerate(units)]


def sweep(
    model: Program,
    states: Mapping[str, Tensor],
    minibatch: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    block_size: int,
) -> dict[str, Tensor]:
    """Draw every latent unit once given all others and the data, from the posterior of a model.

    Args:
        model: any Pyro model of Bernoulli and Categorical sites.
        states: of its latent sites, ``[chains, restarts, data, *event]``.
        minibatch: rows of its subsampled plates.
        args: of the model.
        kwargs: likewise.
        block_size: units of a site drawn jointly.

    Raises:
        TypeError: for another latent site, named.

    """
    only_x = not args and set(kwargs.get("observations") or ()) == {"x"}
    if isinstance(model, BeliefNetwork) and is_own(model) and _is_swept_by_layer(model) and block_size == 1 and only_x:
        return _sweep_of_layers(model, states, kwargs["observations"]["x"])
    counts = {}
    sites = score(model, {**minibatch, **states}, args, kwargs).model_sites
    for name in states:
        site, count = sites[name], num_values(sites[name]["fn"])
        if count is None:
            raise TypeError(
                f"Gibbs moves draw Bernoulli and Categorical sites, but site {name!r} is a "
                f"{type(elementwise(site['fn'])).__name__}; use Reinforce or another scheme that samples from a guide"
            )
        counts[name] = count
    moved = dict(states)
    for name, values in states.items():
        flat = values.reshape(*values.shape[:3], -1).clone()
        for block in _blocks(flat.shape[-1], block_size):
            size = block.stop - block.start
            digits = [torch.arange(counts[name], device=values.device)] * size
            joint = torch.cartesian_prod(*digits).reshape(-1, size).to(values)
            # all joint states of the block side by side as particles, [states * chains, restarts, data, *event]
            tried = {other: value.repeat(len(joint), *[1] * (value.dim() - 1)) for other, value in moved.items()}
            candidates = flat.repeat(len(joint), 1, 1, 1)
            candidates[..., block] = joint.repeat_interleave(len(flat), 0)[:, None, None]
            tried[name] = candidates.reshape(-1, *values.shape[1:])
            log_joint = score(model, {**minibatch, **tried}, args, kwargs).log_joint
            log_joint = log_joint.reshape(len(joint), *flat.shape[:3])
            # the state with the largest sum of log p and Gumbel noise is a draw from p
            noise = -torch.empty_like(log_joint).exponential_().log()
            flat[..., block] = joint[(log_joint + noise).argmax(0)]
            moved[name] = flat.reshape(values.shape)
    return moved


def _is_swept_by_layer(model: BeliefNetwork) -> bool:
    return model.condition is None and model.has_binary_causes


def _blocks(total: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, total)) for first in range(0, total, size)]


def _sweep_of_layers(model: BeliefNetwork, states: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    path: Sequence[Factor] = factors(model, None)
    names, dtype = site_names(model.sizes)[1:], path_dtype(model)
    chains, restarts, data = states[names[0]].shape[:3]
    path, x = without_missing_units(path, x)
    units = [x.to(dtype).expand(chains, restarts, data, -1), *(states[name].to(dtype) for name in names)]
    for level in range(1, len(units)):
        gibbs(path, units, level, beta=1.0)
    return {name: units[level].to(states[name]) for level, name in enumerate(names, start=1)}
