"""What the suite's models and guides are, written out unit by unit from their parameters, summed over all states."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_helm.programs.layered import site_names
from tests.claims import LEFT_OUT, Exact
from tests.oracle import binary_rows


def _of_group(value: Tensor, missing: Tensor, logits: Tensor) -> Tensor:
    """The chance of what is known of a group, [...]: of every unit that may be the one that is on."""
    chance = logits.exp() / logits.exp().sum(-1, keepdim=True)
    units = torch.eye(value.shape[-1], dtype=torch.bool)
    agrees = [(missing | (value == unit.to(value))).all(-1) for unit in units]
    return (torch.stack(agrees, -1) * chance).sum(-1)


def log_density(layer: Any, imaging: str, drive: Tensor, values: Tensor) -> Tensor:
    """log p of a layer's values given its drive, [...], by the textbook; NaN is left out, or summed over in a group."""
    of_units: Tensor
    missing, values = values.isnan(), values.nan_to_num()
    if hasattr(layer, "groups"):
        imaging = "categorical"
    if imaging == "gaussian":
        scale = layer.scale[0, 0]
        of_units = -((values - drive) ** 2) / (2 * scale**2) - scale.log() - math.log(2 * math.pi) / 2
    elif imaging == "poisson":
        of_units = values * drive - drive.exp() - torch.lgamma(values + 1)
    elif imaging == "categorical":
        parts = (each.split(layer.groups, -1) for each in (values, missing, drive))
        of_units = torch.stack([_of_group(*part) for part in zip(*parts, strict=True)], -1).log()
        missing = torch.zeros_like(of_units, dtype=torch.bool)
    elif imaging.endswith(":StudentT"):
        of_units = torch.distributions.StudentT(5.0, drive, 0.5).log_prob(values)
    else:
        odds = {"sigmoid": torch.exp, "noisy_or": torch.expm1, "odds": lambda odds: odds}[imaging](drive)
        of_units = torch.where(values == 1, odds / (1 + odds), 1 / (1 + odds)).log()
    return torch.where(missing, 0.0, of_units).sum(-1)


def drive_of(layer: Any, values: Tensor, causes: Tensor | None) -> Tensor:
    """The drive of each unit, one term after the other."""
    drive: Tensor = layer.leak[0, 0].expand(torch.broadcast_shapes(values.shape, layer.leak[0, 0].shape))
    if causes is not None:
        # a recognition network takes what is missing for one half
        causes = causes.nan_to_num(nan=0.5)
        drive = drive + sum(causes[..., k, None] * layer.weight[0, k] for k in range(causes.shape[-1]))
    for block in layer.blocks:
        for i in range(block.start, block.stop):
            is_later = torch.arange(values.shape[-1]) >= block.stop
            drive = drive + values[..., i, None] * layer.lateral[0, i] * is_later
    return drive


def latent_names(program: Any) -> list[str]:
    """Names of the latent sites, in the order of :func:`hidden_states`."""
    return [*site_names(program.sizes)[1:], *(["class"] if hasattr(program, "labels") else [])]


def hidden_states(program: Any) -> list[Tensor]:
    """All joint hidden states, one tensor [states, units] per layer, and then of the class."""
    names = site_names(program.sizes)[1:]
    layers = [_states(size, program.groups.get(name)) for name, size in zip(names, program.sizes[1:], strict=True)]
    if hasattr(program, "labels"):
        layers.append(torch.eye(program.labels, dtype=torch.float64))
    index = torch.cartesian_prod(*(torch.arange(len(states)) for states in layers)).reshape(-1, len(layers))
    return [states[of_layer] for states, of_layer in zip(layers, index.T, strict=True)]


def _states(size: int, groups: tuple[int, ...] | None) -> Tensor:
    if groups is None:
        return binary_rows(size)
    codes = [torch.eye(group, dtype=torch.float64) for group in groups]
    return torch.stack([torch.cat(rows) for rows in itertools.product(*codes)])


def log_joint(model: Any, observations: Mapping[str, Tensor]) -> Tensor:
    """log p(x, h) of every datum and state, [data, states]."""
    x = observations["x"]
    units = [x[:, None], *(states[None] for states in hidden_states(model))]
    log_p = _log_layers(model, units, label_of(model, observations), lowest=0)
    return log_p + log_class(model, model.class_prior.leak[0, 0], observations) if hasattr(model, "labels") else log_p


def label_of(program: Any, observations: Mapping[str, Tensor]) -> list[Tensor]:
    """The label one-hot, [data, 1, labels], if the program is conditioned on one; every class where it is latent."""
    if program.condition is None:
        return []
    if hasattr(program, "labels"):
        return [hidden_states(program)[-1][None]]
    return [torch.eye(program.condition, dtype=torch.float64)[observations["label"]][:, None]]


def log_class(program: Any, logits: Tensor, observations: Mapping[str, Tensor]) -> Tensor:
    """log p of the class of every state, of a model, [data or 1, states]: impossible where the label is another."""
    classes = hidden_states(program)[-1]
    log_p: Tensor = ((logits.exp() / logits.exp().sum(-1, keepdim=True)).log()[..., None, :] * classes).sum(-1)
    if "label" not in observations:
        return log_p
    label = observations["label"][:, None]
    return log_p.masked_fill(~label.isnan() & (label != classes.argmax(-1)), LEFT_OUT)


def log_prior(model: Any, label: int = 0) -> Tensor:
    """log p(h) of every state, [states], given a label if the model is conditioned on one."""
    if hasattr(model, "labels"):
        states = hidden_states(model)
        return _log_layers(model, [torch.empty(0), *states], [states[-1]], lowest=1) + log_class(
            model, model.class_prior.leak[0, 0], {}
        )
    given = [] if model.condition is None else [torch.eye(model.condition, dtype=torch.float64)[label]]
    return _log_layers(model, [torch.empty(0), *hidden_states(model)], given, lowest=1)


def visible_means(model: Any) -> Tensor:
    """E[x | h] of every state where that is a function of the drive, [states, units], detached."""
    hidden = hidden_states(model)
    means = torch.zeros(len(hidden[0]), model.sizes[0], dtype=torch.float64)
    for _ in range(model.sizes[0]):  # of units that are driven by earlier ones, once these are known
        means = drive_of(model.generative[0], means, hidden[0])
    return (means.exp() if model.imaging[0] == "poisson" else means).detach()


def _log_layers(model: Any, units: list[Tensor], label: list[Tensor], lowest: int) -> Tensor:
    total = torch.zeros(())
    for level, (layer, imaging) in enumerate(zip(model.generative, model.imaging, strict=True)):
        above = [*(units[int(parent[1:])] for parent in list(model.parents.values())[level]), *label]
        causes = side_by_side(above)
        if level >= lowest:
            total = total + log_density(layer, imaging, drive_of(layer, units[level], causes), units[level])
    return total


def side_by_side(causes: list[Tensor]) -> Tensor | None:
    shape = torch.broadcast_shapes(*(units.shape[:-1] for units in causes)) if causes else ()
    return torch.cat([units.expand(*shape, -1) for units in causes], -1) if causes else None


def settled(drive: Tensor, lateral: Tensor, iterations: int, damping: float) -> Tensor:
    """The drive of units after they have driven each other, unit by unit."""

    def driven(means: Tensor) -> Tensor:
        return drive + sum(means[..., i, None] * lateral[i] for i in range(len(lateral)))

    means = 1 / (1 + torch.exp(-drive))
    for _ in range(iterations):
        means = (1 - damping) * means + damping / (1 + torch.exp(-driven(means)))
    return driven(means)


def met(guide: Any, level: int, below: Tensor, label: list[Tensor]) -> Tensor:
    """The drive of a layer after predictions from above and what is below have met, unit by unit."""
    phi, psi = guide.recognition[level:], [(weight[0], leak[0, 0]) for weight, leak in guide.predictions()[level:]]

    def recognised(number: int, seen: Tensor) -> Tensor:
        values = torch.zeros(phi[number].num_units)
        return drive_of(phi[number], values, side_by_side([seen, *label]))

    def predicted(number: int) -> Tensor:
        weight, leak = psi[number]
        drive: Tensor = leak + sum(means[number][..., j, None] * weight[j] for j in range(len(weight)))
        return drive

    def driven(number: int) -> Tensor:
        seen = means[number - 1] if number else below
        error = (seen - 1 / (1 + torch.exp(-predicted(number)))).nan_to_num(nan=0.0)
        drive: Tensor = recognised(number, seen)
        drive = drive + sum(error[..., i, None] * psi[number][0][:, i] for i in range(error.shape[-1]))
        return drive + predicted(number + 1) if number + 1 < len(psi) else drive

    means: list[Tensor] = []
    for number in range(len(psi)):
        means.append(1 / (1 + torch.exp(-recognised(number, means[-1] if means else below))))
    for _ in range(guide.iterations):
        drives = [driven(number) for number in range(len(psi))]
        both = zip(means, drives, strict=True)
        means = [(1 - guide.damping) * mean + guide.damping / (1 + torch.exp(-a)) for mean, a in both]
    return driven(0)


def log_guide(guide: Any, observations: Mapping[str, Tensor]) -> Tensor:
    """log q(h | x) of every datum and state, [data, states]."""
    x, label = observations["x"], label_of(guide, observations)
    below, total = x[:, None], torch.zeros(())
    if guide.trunk is not None:
        weight, bias = (getattr(guide.trunk, f"0:{name}")[0] for name in ("weight", "bias"))
        below = torch.tanh(sum(below.nan_to_num(nan=0.5)[..., k, None] * weight[:, k] for k in range(3)) + bias)
    if hasattr(guide, "labels"):
        total = log_class(guide, drive_of(guide.classifier, torch.zeros(guide.labels), below[:, 0]), {})
        known = observations.get("label", torch.full((len(x),), torch.nan))[:, None]
        certain = torch.zeros_like(total).masked_fill(known != hidden_states(guide)[-1].argmax(-1), LEFT_OUT)
        total = torch.where(known.isnan(), total, certain)
    for level, (layer, states) in enumerate(zip(guide.recognition, hidden_states(guide), strict=False)):
        drive = drive_of(layer, states[None], side_by_side([below, *label]))
        if hasattr(guide, "lateral_weights"):
            drive = settled(drive, guide.lateral_weights()[level][0], guide.iterations, guide.damping)
        if hasattr(guide, "predictions"):
            drive = met(guide, level, below, label)
        total = total + log_density(layer, "sigmoid", drive, states[None])
        below = states[None]
    return total


class Enumerated(Exact):
    """Exact values of a pair of one restart."""

    def __init__(self, model: Any, guide: Any, observations: Mapping[str, Tensor]) -> None:
        self.log_p, self.log_q = log_joint(model, observations), log_guide(guide, observations)


def sleep(model: Any, guide: Any, observations: Mapping[str, Tensor]) -> Tensor:
    """E of log q(h | x) under the model, held fixed, where every x can be listed; for each datum, summed."""
    rows, total = every_x(model), torch.zeros(())
    for datum in range(len(observations["x"])):
        dreams = {name: value[datum].expand(len(rows)) for name, value in observations.items() if name != "x"}
        dreams["x"] = rows
        for label in range(model.labels) if hasattr(model, "labels") and not dreams["label"].isnan().any() else [None]:
            if label is not None:  # a label is dreamt where the row has one
                dreams["label"] = torch.full((len(rows),), float(label))
            chance = log_joint(model, dreams).exp().detach()
            total = total + torch.where(chance > 0, chance * log_guide(guide, dreams), 0.0).sum()
    return total


def every_x(model: Any) -> Tensor:
    """All rows that a model of binary or categorical units may dream."""
    return _states(model.sizes[0], model.groups.get("x"))
