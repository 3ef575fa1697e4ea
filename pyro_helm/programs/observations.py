"""What data a model takes: zeros and ones if its observed site is binary, otherwise what its distribution can have."""

from __future__ import annotations

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Bernoulli, Binomial, Categorical, constraints

from pyro_helm.data.checks import check_binary
from pyro_helm.programs.contract import Site, check_observes
from pyro_helm.programs.discrete import without_events
from pyro_helm.programs.layered import structure_of, visible_units
from pyro_helm.programs.particles import Program
from pyro_helm.programs.rows import in_pieces
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


def check_data(model: Program, data: Tensor, *, divided: bool = False) -> None:
    """Refuse data that the model does not take.

    Args:
        model: a layered network, or any Pyro model that takes ``observations={"x": ...}``.
        data: ``[data, units]``.
        divided: whether the model may be shown some rows at a time.

    Raises:
        ValueError: for a model that observes nothing, NaN, infinities, another shape than the model's observed sites
            have, and values that they can't take: any but 0 and 1 for binary ones.

    """
    if visible_units(model) is not None or not isinstance(data, Tensor) or data.dim() != 2 or data.numel() == 0:
        check_binary(data, name="data", width=visible_units(model))
    if structure_of(model) == "generative":
        return
    finite = data.isfinite()
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        raise ValueError(f"data has {data[row, column].item()} at row {row}, column {column} (counted from 0)")
    with forked_rng(0, data.device), torch.no_grad(), pyro.validation_enabled(False):
        for rows in in_pieces(as_observed(model, data), _ROWS_AT_ONCE, divided=divided):
            trace = poutine.trace(model).get_trace(observations={"x": rows})
            check_observes(_own_sites(trace))
            for name in trace.observation_nodes:
                _check_site(name, trace.nodes[name], data, len(rows))


def _own_sites(trace: Trace) -> dict[str, Site]:
    """A program's sample sites, without plates' and what it only computes."""
    sites = {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}
    return {
        name: site
        for name, site in sites.items()
        if not site_is_subsample(site) and not site["infer"].get("_deterministic")
    }


def _check_site(name: str, site: Site, data: Tensor, num_rows: int) -> None:
    fn, value = site["fn"], site["value"]
    batch, event = value.shape[: value.dim() - fn.event_dim], value.shape[value.dim() - fn.event_dim :]
    if event != fn.event_shape or (batch[-1:] != (num_rows,) and value.shape.numel() != fn.event_shape.numel()):
        raise ValueError(
            f"data of shape {list(data.shape)} reach the model's site {name!r} as {list(value.shape)}, but it has "
            f"{list(fn.event_shape)} values per datum, and data along the dimension before them"
        )
    fn = without_events(fn)
    if isinstance(fn, Bernoulli):
        check_binary(data, name="data")
    # other supports that depend on parameters may depend on latent sites, drawn here from the prior
    if constraints.is_dependent(type(fn).support) and not isinstance(fn, (Categorical, Binomial)):
        return
    inside = fn.support.check(value)
    if not inside.all():
        example = f" such as {value[~inside][0].item():g}" if inside.shape == value.shape else ""
        raise ValueError(f"data has values{example} that the model's site {name!r}, a {type(fn).__name__}, can't take")
