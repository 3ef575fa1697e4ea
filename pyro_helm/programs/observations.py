"""What data a model takes: what its own observed sites say by their supports, masks and shapes."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import MaskedDistribution
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Bernoulli, Binomial, Categorical, constraints

from pyro_helm.data.checks import check_rows
from pyro_helm.programs.contract import Site, check_observes
from pyro_helm.programs.discrete import elementwise, without_events
from pyro_helm.programs.layered import visible_units
from pyro_helm.programs.particles import Program
from pyro_helm.programs.rows import in_pieces
from pyro_helm.programs.supports import described
from pyro_helm.runtime.device import placement
from pyro_helm.runtime.seeding import forked_rng

_ROWS_AT_ONCE = 1000


def as_observed(model: Program, data: Tensor) -> Tensor:
    """The data where a module has its parameters, and in their type; for a function, floating-point numbers."""
    if isinstance(model, torch.nn.Module):
        return data.to(**placement(model))
    return data if data.is_floating_point() else data.to(torch.get_default_dtype())


def observing(x: Tensor) -> dict[str, dict[str, Tensor]]:
    """Keyword arguments with which a program is shown data."""
    return {"observations": {"x": x}}


def check_data(
    model: Program, data: Tensor, *, divided: bool = False, name: str = "data", rows_at_once: int = _ROWS_AT_ONCE
) -> None:
    """Refuse data that the model does not take.

    Args:
        model: a layered network, or any Pyro model that takes ``observations={"x": ...}``.
        data: ``[data, units]``.
        divided: whether the model may be shown some rows at a time.
        name: of the argument, for errors.
        rows_at_once: how many it is then shown.

    Raises:
        ValueError: for a model that observes nothing, infinities, another shape than the model's observed sites have,
            and values that they can't take: any but 0 and 1 for binary ones, and NaN unless the model masks it, as a
            :class:`BeliefNetwork` does.

    """
    check_rows(data, name=name, width=visible_units(model))
    infinite = data.isinf()
    if infinite.any():
        raise ValueError(f"{name} has {_at(infinite, data)}, expected finite numbers")
    with forked_rng(0, data.device), torch.no_grad(), pyro.validation_enabled(False):
        pieces = in_pieces(as_observed(model, data), rows_at_once, divided=divided)
        for first, rows in zip(accumulate(map(len, pieces), initial=0), pieces, strict=False):
            trace = poutine.trace(model).get_trace(observations={"x": rows})
            check_observes(_own_sites(trace))
            for site in trace.observation_nodes:
                _check_site(name, trace.nodes[site], list(data.shape), len(rows), first)


def _at(where: Tensor, values: Tensor, first: int = 0) -> str:
    """The first value ``[..., data, units]`` that is meant, with its place, for a sentence."""
    place = where.nonzero()[0].tolist()
    return f"{values[tuple(place)].item()} at row {place[-2] + first}, column {place[-1]} (counted from 0)"


def _own_sites(trace: Trace) -> dict[str, Site]:
    """A program's sample sites, without plates' and what it only computes."""
    sites = {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}
    return {
        name: site
        for name, site in sites.items()
        if not site_is_subsample(site) and not site["infer"].get("_deterministic")
    }


def _check_site(name: str, site: Site, shape: list[int], num_rows: int, first: int) -> None:
    fn, value = site["fn"], site["value"]
    batch, event = value.shape[: value.dim() - fn.event_dim], value.shape[value.dim() - fn.event_dim :]
    if event != fn.event_shape or (batch[-1:] != (num_rows,) and value.shape.numel() != fn.event_shape.numel()):
        raise ValueError(
            f"{name} of shape {shape} reach the model's site {site['name']!r} as {list(value.shape)}, but it has "
            f"{list(fn.event_shape)} values per datum, and data along the dimension before them"
        )
    allowed = _allowed(site)
    if bool(allowed.all()):
        return
    single = without_events(fn)
    values = value.reshape(*batch, -1) if batch else value.reshape(1, -1)
    # one entry for each value, or for each event such as a one-hot vector
    bad = (~allowed).reshape(*values.shape[:-1], -1)
    if bad.shape != values.shape:
        bad = bad.repeat_interleave(values.shape[-1] // bad.shape[-1], -1)
    found = _at(bad, values, first)
    binary = isinstance(elementwise(single), Bernoulli)
    expected = f"0 or 1 at the model's site {site['name']!r}"
    if not binary:
        expected = f"a value of the model's site {site['name']!r}, a {described(single)}"
    advice = "; let the model mask what is missing" if bool(values[bad].isnan().any()) else ""
    raise ValueError(f"{name} has {found}, expected {expected}{advice}")


def _allowed(site: Site) -> Tensor:
    """Where a site's value is one that its distribution has, or is masked; of its elements, or of their events."""
    fn, value = without_events(site["fn"]), site["value"]
    mask = torch.ones((), dtype=torch.bool, device=value.device)
    if isinstance(site["mask"], Tensor):
        mask = site["mask"].reshape(site["mask"].shape + (1,) * (site["fn"].event_dim - fn.event_dim))
    elif site["mask"] is False:
        mask = ~mask
    if isinstance(fn, MaskedDistribution) and fn._mask is not True:
        mask = mask & torch.as_tensor(fn._mask, device=value.device)
    single: Any = elementwise(fn)
    # other supports that depend on parameters may depend on latent sites, drawn here from the prior
    if constraints.is_dependent(type(single).support) and not isinstance(single, (Categorical, Binomial)):
        inside = ~value.isnan()
        mask = mask.reshape(mask.shape + (1,) * fn.event_dim)
    else:
        inside = single.support.check(value)
    allowed: Tensor = inside | ~mask
    return allowed
