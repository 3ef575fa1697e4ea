"""Layers some of whose units are not observed: which factors can be left out, and which can't."""

from __future__ import annotations

from pyro.distributions import Independent, TorchDistribution
from torch import Tensor


def depends_on_all(kind: str) -> ValueError:
    """What is said of missing values in a layer whose units depend on each other."""
    return ValueError(
        f"units of a layer that is {kind} depend on each other, so that missing values (NaN) can't be left out; use a "
        "visible layer without lateral connections, or fill them in first"
    )


def leaving_out(layer: TorchDistribution, observed: Tensor) -> TorchDistribution:
    """The layer, with its units as the event, without those where ``observed[..., units]`` is False.

    Raises:
        ValueError: for a layer whose units depend on each other, so that one can't be left out.

    """
    if isinstance(layer, Independent):
        return layer.base_dist.mask(observed).to_event(1)
    if not hasattr(layer, "leaving_out"):
        raise depends_on_all(type(layer).__name__)
    without: TorchDistribution = layer.leaving_out(observed)
    return without
