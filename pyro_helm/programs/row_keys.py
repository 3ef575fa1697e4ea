"""A key for each datum, by which it is known again: of all that reaches a program of it by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pyro.distributions import MaskedDistribution
from torch import Tensor

from pyro_helm.programs.contract import Site
from pyro_helm.programs.discrete import without_events
from pyro_helm.programs.particles import Particles


def keys_of(particles: Particles, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Tensor:
    """A number for all that is known of each datum, ``[data]``; data that are equal in it are numbered.

    Args:
        particles: of the model.
        args: of the call, if more than the observed values may tell data apart.
        kwargs: likewise.

    """
    observed = [site for site in particles.model_sites.values() if site["is_observed"]]
    rows = [_rows(site) for site in observed if site["fn"].event_shape.numel()]  # a pyro.factor has no values
    if not rows:
        raise ValueError("the model has no observed site, by whose values a datum and its states would be known again")
    number = particles.log_joint.shape[-1]
    for site in particles.model_sites.values():
        fn = without_events(site["fn"])
        rows += [_by_datum(mask, 0) for mask in (site["mask"],) if isinstance(mask, Tensor)]
        if isinstance(fn, MaskedDistribution) and isinstance(fn._mask, Tensor):  # single values that are missing
            rows.append(_by_datum(fn._mask, len(fn.batch_shape) - len(site["fn"].batch_shape)))
    index, full_size = _places(particles, number)
    if full_size != number or not torch.equal(index, torch.arange(number, device=index.device)):
        rows.append(index[:, None])
    for value in (*args, *(kwargs or {}).values()):
        rows += named_rows(value, index, full_size)
    device = particles.log_joint.device
    keys = _mixed(torch.cat([row.to(device, torch.double).expand(number, -1) for row in rows], dim=-1))
    return _mixed(torch.stack([keys, _numbered(keys)], dim=-1))


def named_rows(value: Any, index: Tensor, full_size: int) -> list[Tensor]:
    """What arguments hold for each datum, ``[data, features]``: all that has the data in front.

    Args:
        value: arguments, or anything inside them.
        index: rows of the data plate that are in the minibatch.
        full_size: rows of the data plate.

    """
    if isinstance(value, Mapping):
        return [row for inner in value.values() for row in named_rows(inner, index, full_size)]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = torch.as_tensor(value)
    if isinstance(value, Tensor):
        if value.requires_grad or value.dim() == 0 or len(value) not in (len(index), full_size):
            return []  # a parameter is no datum
        value = value[index.to(value.device)] if len(value) == full_size else value
        return [value.reshape(len(index), -1)]
    if isinstance(value, (list, tuple)):
        if len(value) in (len(index), full_size):
            # of each entry, a number, a text or a tensor of its own length
            digests = torch.tensor([_digest(entry) for entry in value])
            return [(digests[index.cpu()] if len(value) == full_size else digests)[:, None]]
        return [row for inner in value for row in named_rows(inner, index, full_size)]
    return []


def _digest(entry: Any) -> int:
    if isinstance(entry, Tensor):
        entry = entry.detach().tolist()
    return int.from_bytes(hashlib.blake2b(repr(entry).encode(), digest_size=6).digest(), "big")


def _places(particles: Particles, number: int) -> tuple[Tensor, int]:
    """Rows of the data plate that are in the minibatch, ``[data]``, and how many the plate has."""
    frames = [frame for site in particles.model_sites.values() for frame in site["cond_indep_stack"] if frame.dim == -1]
    index = particles.minibatch.get(frames[0].name) if frames else None
    if not isinstance(index, Tensor) or len(index) != number:
        return torch.arange(number), number
    return index, frames[0].full_size or number


def _mixed(values: Tensor) -> Tensor:
    """A number for each row of values ``[data, features]``, ``[data]``."""
    bits = values.contiguous().view(torch.long)
    generator = torch.Generator().manual_seed(0)
    multipliers = torch.randint(-(2**62), 2**62, (bits.shape[-1],), generator=generator) * 2 + 1
    # products and sums modulo 2^64
    mixed: Tensor = (bits ^ (bits >> 29)) * multipliers.to(bits.device)
    return (mixed ^ (mixed >> 32)).sum(-1)


def _numbered(keys: Tensor) -> Tensor:
    """For each key, how many equal ones stand before it."""
    order = keys.argsort(stable=True)
    counts = keys[order].unique_consecutive(return_counts=True)[1]
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(keys), device=keys.device) - first)


def _rows(site: Site) -> Tensor:
    """Observed values as ``[data, features]``, of all restarts together if each has its own."""
    return _by_datum(site["value"].detach(), site["fn"].event_dim)


def _by_datum(value: Tensor, event_dim: int) -> Tensor:
    """``[..., data, *event]`` as ``[data, features]``."""
    batch = value.shape[: value.dim() - event_dim]
    by_datum: Tensor = value.reshape(-1, batch[-1] if batch else 1, value.shape[len(batch) :].numel())
    return by_datum.movedim(1, 0).flatten(1)
