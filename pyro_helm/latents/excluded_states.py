"""States that have probability zero, and guides that give it to states that the posterior has.

What a guide can't propose is missed by every sample of it, however many, and shows in no spread of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution

from pyro_helm.programs.contract import Site
from pyro_helm.programs.discrete import elementwise
from pyro_helm.programs.particles import Program, draw_from_guide, score
from pyro_helm.programs.rows import Rows, in_pieces, may_be_divided, restarts_of
from pyro_helm.programs.unclamped import unclamped_log_prob

DRAWS = 10
"""Draws of the guide per datum around which states are looked for that it excludes."""


def states_missed(
    model: Program, guide: Program, x: Tensor, *, draws_at_once: int = 20_000, rows: Rows | None = None
) -> Tensor:
    """Where the guide provably gives probability zero to a state of the posterior, ``[restarts, data]``.

    Around draws of the guide, each element of each Bernoulli or Categorical site of the model takes every value that
    its factor of the guide excludes (a probability of exactly 0; a Delta excludes all but its own). Where the model
    gives the changed state and the data a positive probability, mass is missed. There are no false alarms; but
    factors of other distributions, guides with auxiliary sites (which ``mixed_with_prior`` has) and states that are
    possible only if several elements change at once are not seen.

    Args:
        model: called with ``observations={"x": x}``.
        guide: called likewise.
        x: data ``[data, units]``.
        draws_at_once: draws (``DRAWS`` x restarts x data) held in memory.
        rows: as for :func:`~pyro_helm.likelihoods.scores.log_likelihood`.

    """
    divided, restarts = may_be_divided(rows, model, guide), restarts_of(model)
    missed = []
    for some in in_pieces(x, max(1, draws_at_once // (DRAWS * restarts)), divided=divided):
        number = min(DRAWS, max(1, draws_at_once // (restarts * len(some))))
        tried = [_missed(model, guide, some, number) for _ in range(0, DRAWS, number)]
        missed.append(torch.stack(tried).any(0))
    return torch.cat(missed, dim=-1)


def _missed(model: Program, guide: Program, x: Tensor, number: int) -> Tensor:
    observations = {"observations": {"x": x}}
    particles = draw_from_guide(model, guide, number, kwargs=observations)
    shape = torch.broadcast_shapes(particles.log_weight.shape, (number, 1, len(x)))
    missed = torch.zeros(shape[1:], dtype=torch.bool, device=x.device)
    if particles.guide_sites.keys() - particles.model_sites.keys():
        return missed
    values = {name: site["value"] for name, site in particles.guide_sites.items()}
    for name, site in particles.guide_sites.items():
        for state, excluded in _excluded(site, elementwise(particles.model_sites[name]["fn"])):
            if bool((excluded & ~missed).any()):
                found = excluded & _possible(model, values | {name: state}, observations)
                missed |= found.expand(shape).any(0)
    return missed


def _excluded(site: Site, prior: Distribution) -> Iterator[tuple[Tensor, Tensor]]:
    """Values of a site with one element replaced, and where its factor excludes that, ``[draws, restarts, data]``."""
    factor, value, event_dim = elementwise(site["fn"]), site["value"], site["fn"].event_dim
    if not isinstance(prior, (Bernoulli, Categorical)) or site["mask"] is not None:
        return
    if not isinstance(factor, (Bernoulli, Categorical, Delta)):
        return
    for number in range(2 if isinstance(prior, Bernoulli) else prior.logits.shape[-1]):
        zero = unclamped_log_prob(factor, torch.full_like(value, number)) == -torch.inf
        zero = zero.expand(value.shape).reshape(*value.shape[: value.dim() - event_dim], -1)
        for element in zero.flatten(0, -2).any(0).nonzero().flatten().tolist():
            state = value.reshape(zero.shape).clone()
            state[..., element] = number
            yield state.reshape(value.shape), zero[..., element]


def _possible(model: Program, values: Mapping[str, Tensor], kwargs: Mapping[str, Any]) -> Tensor:
    return score(model, values, kwargs=kwargs).log_joint != -torch.inf
