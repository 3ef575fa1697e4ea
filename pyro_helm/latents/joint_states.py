"""Every joint state of the Bernoulli and Categorical sites of any Pyro model, scored as particles are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Categorical

from pyro_helm.layers.one_hot_groups import OneHotGroups
from pyro_helm.programs.discrete import elementwise, num_values, single_units, uniform_log_prob
from pyro_helm.programs.particles import Particles, Program, score
from pyro_helm.programs.site_log_prob import log_prob
from pyro_helm.runtime.one_hot_codes import one_hot


class DiscreteSite(NamedTuple):
    """A latent site with finitely many values: ``num_values`` for each of the elements of its event."""

    name: str
    num_values: int
    event_shape: torch.Size
    is_categorical: bool
    dtype: torch.dtype
    device: torch.device
    groups: tuple[int, ...] | None = None
    """Units in each group of one-hot ones, of which each group has as many values; None for other sites."""

    @property
    def num_elements(self) -> int:
        """Elements of its event."""
        return self.event_shape.numel()

    @property
    def bases(self) -> tuple[int, ...]:
        """Numbers of values of what takes them independently: elements, or groups."""
        return (self.num_values,) * self.num_elements if self.groups is None else self.groups

    def decoded(self, digits: Tensor) -> Tensor:
        """Values ``[states, *event]`` of the numbers of their values, ``[states, bases]``."""
        if self.groups is not None:
            digits = torch.cat([one_hot(digit, size) for digit, size in zip(digits.T, self.groups, strict=True)], -1)
        return digits.to(self.dtype).reshape(-1, *self.event_shape)

    @property
    def num_features(self) -> int:
        """Length of its :meth:`features`."""
        return self.num_elements * (self.num_values if self.is_categorical else 1)

    def features(self, values: Tensor) -> Tensor:
        """What the posterior mean is taken of, ``[states, features]``: the values, or one-hot codes of categories."""
        coded = one_hot(values.long(), self.num_values) if self.is_categorical else values
        return coded.reshape(len(values), -1)

    def unflatten(self, means: Tensor) -> Tensor:
        """Means ``[restarts, data, features]`` as ``[restarts, data, *event]``, and categories last if it has any."""
        shape = (*self.event_shape, self.num_values) if self.is_categorical else self.event_shape
        return means.reshape(*means.shape[:2], *shape)


def discrete_sites(
    model: Program, kwargs: Mapping[str, Any], args: tuple[Any, ...] = (), *, remedy: str = 'use method="importance"'
) -> list[DiscreteSite]:
    """The latent sites of a model, called with ``args`` and ``kwargs``.

    Raises:
        TypeError: for one that is neither Bernoulli nor Categorical, with the remedy.
        ValueError: for a model without any.

    """
    trace = poutine.trace(model).get_trace(*args, **kwargs)
    sites = []
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or site["is_observed"] or site_is_subsample(site):
            continue
        single = single_units(site["fn"])
        groups = single.groups if isinstance(single, OneHotGroups) else None
        values = num_values(site["fn"])
        if values is None and groups is None:
            raise TypeError(
                f"enumeration sums over Bernoulli and Categorical sites, but site {name!r} is a "
                f"{type(elementwise(site['fn'])).__name__}; {remedy}"
            )
        is_categorical, like, shape = isinstance(single, Categorical), site["value"], site["fn"].event_shape
        sites.append(DiscreteSite(name, values or 2, shape, is_categorical, like.dtype, like.device, groups))
    if not sites:
        raise ValueError("the model has no latent site, so there is nothing to sum over")
    return sites


def num_states(sites: list[DiscreteSite]) -> int:
    """Joint states of all sites."""
    return math.prod(math.prod(site.bases) for site in sites)


def all_joint_states(sites: list[DiscreteSite], at_once: int, device: torch.device) -> Iterator[dict[str, Tensor]]:
    """Every joint state once, in pieces: by site, ``[states, *event]``."""
    bases = [base for site in sites for base in site.bases]
    total = num_states(sites)
    for start in range(0, total, at_once):
        index = torch.arange(start, min(start + at_once, total), device=device)
        digits = []
        for base in reversed(bases):
            digits.append(index % base)
            index = index // base
        elements = torch.stack(digits[::-1], dim=-1)
        parts = elements.split([len(site.bases) for site in sites], dim=-1)
        yield {site.name: site.decoded(part) for site, part in zip(sites, parts, strict=True)}


def placed(sites: list[DiscreteSite], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """States ``[states, *event]`` as particles, ``[states, 1, 1, *event]``."""
    return {site.name: values[site.name].reshape(-1, 1, 1, *site.event_shape) for site in sites}


def log_joint(
    program: Program, kwargs: Mapping[str, Any], sites: list[DiscreteSite], values: Mapping[str, Tensor]
) -> Tensor:
    """Log-probability of a model or guide with its latent sites at given values, ``[states, restarts, data]``."""
    return to_be_summed(score(program, placed(sites, values), kwargs=kwargs), sites)


def to_be_summed(particles: Particles, sites: list[DiscreteSite]) -> Tensor:
    """``log p(x, h)`` of joint states, of which the sum over all is ``p(x)``, ``[states, restarts, data]``."""
    log_p = particles.log_joint
    for site in sites:
        # a masked unit has the same terms in all of its states, of which one is to count
        unmasked = -log_prob(particles.model_sites[site.name], uniform_log_prob)
        log_p = log_p - (math.log(math.prod(site.bases)) - unmasked).to(log_p)
    return log_p
