"""What the deterministic schemes share: the free energy of a factorial guide, layer by layer.

    F = sum_l sum_j  q_j^l (log q_j^l - on_j^l) + (1 - q_j^l) (log(1 - q_j^l) - off_j^l),      q^1 = x

with ``q`` from means all the way up (3.10) and ``on, off`` what stands for the log-probabilities of each unit given the
uncertain layer above. Dayan, Hinton, Neal & Zemel 1995, equation 3.11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import constraints, is_validation_enabled
from torch import Tensor

from pyro_helm.guides import FactorialRecognition
from pyro_helm.imaging import Imaging, LogProbs
from pyro_helm.layers import check_sizes_agree, layer_plates
from pyro_helm.models import BeliefNetwork

LayerLogProbs = Callable[[Imaging, Tensor], LogProbs]
"""What stands for a layer's log-probabilities, given the probabilities of the causes above it."""


def free_energies(name: str, log_probs: LayerLogProbs, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
    """F summed over the data, ``[restarts]``, in nats.

    Args:
        name: of the scheme, for messages.
        log_probs: what stands for the log-probabilities of a layer.
        model: a belief network.
        guide: its recognition network.
        args: of the two programs: ``observations``.
        kwargs: likewise.

    Raises:
        TypeError: for other programs.
        ValueError: for a model and guide that differ in sizes, or observations other than an ``x`` of zeros and ones.

    """
    if not isinstance(model, BeliefNetwork) or not isinstance(guide, FactorialRecognition):
        raise TypeError(
            f"{name} passes means instead of samples through the layers of a BeliefNetwork and a FactorialRecognition, "
            f"got a {type(model).__name__} and a {type(guide).__name__}; for other programs use a scheme that samples"
        )
    check_sizes_agree(model, guide)
    observations = _observations(*args, **kwargs)
    if not isinstance(observations, Mapping) or set(observations) != {"x"}:
        given = sorted(observations) if isinstance(observations, Mapping) else type(observations).__name__
        raise ValueError(f'{name} takes observations={{"x": values}}, got {given}')
    if is_validation_enabled() and not bool(constraints.boolean.check(observations["x"]).all()):
        raise ValueError("observations of 'x' must be 0 or 1 everywhere")
    hidden = guide.mean_field(observations)
    means = [layer.mean for layer in hidden]
    x = observations["x"].to(means[0])
    energy: Tensor = -sum(layer.entropy().sum(-1) for layer in hidden)
    for q, layer in zip([x, *means], model.layer_log_probs(log_probs, means), strict=True):
        energy = energy - _mean(q, layer).sum(-1)
    return _sum_over_data(energy, model.restarts)


def _observations(observations: Any = None) -> Any:
    return observations


def _mean(q: Tensor, log_probs: LogProbs) -> Tensor:
    # a unit that is certainly off may have log p = -inf for on, and 0 * -inf is no number, nor is it in the gradient
    on, off = torch.where(q > 0, log_probs.on, 0.0), torch.where(q < 1, log_probs.off, 0.0)
    return q * on + (1 - q) * off


def _sum_over_data(per_datum: Tensor, restarts: int) -> Tensor:
    """Total over the data, ``[restarts]``, with the scale and mask of any handlers around the scheme."""
    with poutine.trace() as recorded, layer_plates(restarts, per_datum.shape[-1]):
        pyro.factor("free_energy", per_datum)
    recorded.trace.compute_log_prob()
    scaled: Tensor = recorded.trace.nodes["free_energy"]["log_prob"]
    return scaled.reshape(restarts, -1).sum(-1)
