"""What data a model takes: zeros and ones if its observed site is binary, otherwise finite numbers."""

from __future__ import annotations

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Bernoulli, Independent

from pyro_helm.binary import check_binary
from pyro_helm.layers import visible_units
from pyro_helm.particles import Program
from pyro_helm.placement import forked_rng, placement


def as_observed(model: Program, data: Tensor) -> Tensor:
    """The data where a module has its parameters, and in their type; for a function, floating-point numbers."""
    if isinstance(model, torch.nn.Module):
        return data.to(**placement(model))
    return data if data.is_floating_point() else data.to(torch.get_default_dtype())


def check_data(model: Program, data: Tensor) -> None:
    """Refuse data that the model does not take.

    Args:
        model: a layered network, or any Pyro model that takes ``observations={"x": ...}``.
        data: ``[data, units]``.

    Raises:
        ValueError: for another shape, NaN, infinities, and where the model's observed site is binary any value but 0
            and 1.

    """
    if visible_units(model) is not None or not isinstance(data, Tensor) or data.dim() != 2 or data.numel() == 0:
        check_binary(data, name="data", width=visible_units(model))
        return
    finite = data.isfinite()
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        raise ValueError(f"data has {data[row, column].item()} at row {row}, column {column} (counted from 0)")
    with forked_rng(0, data.device), torch.no_grad(), pyro.validation_enabled(False):
        trace = poutine.trace(model).get_trace(observations={"x": as_observed(model, data[:1])})
    for name in trace.observation_nodes:
        fn = trace.nodes[name]["fn"]
        while isinstance(fn, Independent):
            fn = fn.base_dist
        if isinstance(fn, Bernoulli):
            check_binary(data, name="data")
