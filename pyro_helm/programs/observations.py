"""What data a model takes: what its own observed sites say by their supports, masks and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import MaskedDistribution
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Binomial, Categorical, constraints

from pyro_helm.data.checks import check_rows
from pyro_helm.data.named_observations import main_name
from pyro_helm.programs.contract import Site, check_observes
from pyro_helm.programs.discrete import elementwise, without_events
from pyro_helm.programs.first_run import explained
from pyro_helm.programs.layered import structure_of, visible_units
from pyro_helm.programs.particles import Program
from pyro_helm.programs.supports import described, values_in_words
from pyro_helm.runtime.device import placement
from pyro_helm.runtime.seeding import forked_rng

_ROWS_AT_ONCE = 1000


def as_observed(model: Program, data: Tensor, name: str = "x") -> Tensor:
    """The data ``[data, ...]`` in device and type of a module's parameters; for a function, in floating point.

    Whole numbers of another name than ``x``, labels or lengths say, stay whole.
    """
    if name != "x" and not data.is_floating_point() and data.dtype != torch.bool:
        return data.to(placement(model)["device"])
    if isinstance(model, torch.nn.Module):
        return data.to(**placement(model))
    return data if data.is_floating_point() else data.to(torch.get_default_dtype())


def observing(x: Tensor) -> dict[str, dict[str, Tensor]]:
    """Keyword arguments with which a program is shown data ``x[data, units]``."""
    return {"observations": {"x": x}}


def check_data(
    model: Program,
    data: Tensor | Mapping[str, Tensor],
    *,
    divided: bool = False,
    name: str = "data",
    rows_at_once: int = _ROWS_AT_ONCE,
    is_part: bool = False,
) -> None:
    """Refuse data that the model does not take.

    Args:
        model: a layered network, or any Pyro model that takes ``observations={"x": ...}``.
        data: ``[data, units]``, or observations by name with the data in front.
        divided: whether the model may be shown some rows at a time.
        name: of the argument, for errors.
        rows_at_once: how many it is then shown.
        is_part: whether there are more rows than these, so that all of these may be missing.

    Raises:
        ValueError: for a model that observes nothing, infinities, another shape than the model's observed sites have,
            and values that they can't take: any but 0 and 1 for binary ones, and NaN unless the model masks it, as a
            :class:`BeliefNetwork` does.

    """
    observations = data if isinstance(data, Mapping) else {"x": data}
    for key, value in observations.items():
        shown = f"{name}[{key!r}]" if len(observations) > 1 else name
        if len(observations) == 1 or (key == "x" and visible_units(model) is not None):
            check_rows(value, name=shown, width=visible_units(model))
        if key == main_name(observations) and not is_part and bool(value.isnan().all()):
            raise ValueError(
                f"{shown} has {_at(value.isnan(), value)} and everywhere else, expected some that is known"
            )
        infinite = value.isinf()
        if infinite.any():
            raise ValueError(f"{shown} has {_at(infinite, value)}, expected finite numbers")
    if set(observations) == {"x"} and structure_of(model) == "generative" and _is_binary(model):
        x = observations["x"]  # the answer is known, and the model need not run
        bad = ~((x == 0) | (x == 1) | x.isnan())
        if bool(bad.any()):
            raise ValueError(f"{name} has {_at(bad, x)}, expected 0 or 1 at the model's site 'x'")
        return
    number = len(next(iter(observations.values())))
    observations = {key: as_observed(model, value, key) for key, value in observations.items()}
    device = next(iter(observations.values())).device
    with forked_rng(0, device), torch.no_grad(), pyro.validation_enabled(False):
        number_at_once = rows_at_once if divided else number
        for first in range(0, number, number_at_once):
            rows = {
                key: value[first : first + rows_at_once] if divided else value for key, value in observations.items()
            }
            with explained(rows) as read:
                trace = poutine.trace(model).get_trace(observations=read)
            check_observes(_own_sites(trace))
            for site in trace.observation_nodes:
                _check_site(name, trace.nodes[site], rows, first)


def _is_binary(model: Any) -> bool:
    """Whether a network's visible units are binary whatever their causes are."""
    return getattr(model, "imaging", (None,))[0] in ("sigmoid", "noisy_or", "odds") and not getattr(
        model, "condition", 0
    )


def _at(where: Tensor, values: Tensor, first: int = 0) -> str:
    """The first value ``[data, ...]`` that is meant, with its place, for a sentence."""
    row, column = where.reshape(len(where), -1).nonzero()[0].tolist()
    value = values.reshape(len(values), -1)[row, column].item()
    return f"{value} at row {row + first}, column {column} (counted from 0)"


def _own_sites(trace: Trace) -> dict[str, Site]:
    """A program's sample sites, without plates' and what it only computes."""
    sites = {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}
    return {
        name: site
        for name, site in sites.items()
        if not site_is_subsample(site) and not site["infer"].get("_deterministic")
    }


def _check_site(name: str, site: Site, rows: Mapping[str, Tensor], first: int) -> None:
    fn, value = site["fn"], site["value"]
    num_rows = len(next(iter(rows.values())))
    batch, event = value.shape[: value.dim() - fn.event_dim], value.shape[value.dim() - fn.event_dim :]
    if event != fn.event_shape or (batch[-1:] != (num_rows,) and value.shape.numel() != fn.event_shape.numel()):
        raise ValueError(
            f"the model's site {site['name']!r} was given {name} of shape {list(value.shape)}, expected "
            f"{list(torch.Size((num_rows, *fn.event_shape)))}: the data, then the values of one datum, which "
            ".to_event(1) declares an event"
        )
    allowed = _allowed(site)
    if bool(allowed.all()):
        return
    single = without_events(fn)
    # [restarts, data, values]; an entry of bad for each value, or for each event such as a one-hot vector
    values, bad = (t.reshape(-1, batch[-1] if batch else 1, t.shape[len(batch) :].numel()) for t in (value, ~allowed))
    worst = int(bad.flatten(1).any(-1).nonzero()[0])
    values, bad = values[worst], bad[worst]
    if bad.shape != values.shape:
        bad = bad.repeat_interleave(values.shape[-1] // bad.shape[-1], -1)
    found = _at(bad, values, first)
    wanted, at = values_in_words(single), f"the model's site {site['name']!r}"
    expected = f"a value of {at}, a {described(single)}" if wanted is None else f"{wanted} at {at}"
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
