"""What the deterministic schemes share: the free energy of a factorial guide, layer by layer.

    F = sum_l sum_j  q_j^l (log q_j^l - on_j^l) + (1 - q_j^l) (log(1 - q_j^l) - off_j^l),      q^1 = x

with ``q`` from means all the way up (3.10) and ``on, off`` what stands for the log-probabilities of each unit given the
uncertain layer above. Dayan, Hinton, Neal & Zemel 1995, equation 3.11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import constraints, is_validation_enabled
from torch import Tensor

from pyro_helm.guides import FactorialRecognition
from pyro_helm.layers import Imaging, LogProbs
from pyro_helm.layers.missing import has_missing
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.layered import check_sizes_agree, layer_plates
from pyro_helm.programs.pair import Programs
from pyro_helm.programs.rows import is_own
from pyro_helm.runtime.arguments import is_whole, number

MOST_ENUMERATED = 20
"""Units whose states, a million, may be summed over."""

LayerLogProbs = Callable[[Imaging, Tensor], LogProbs]
"""What stands for a layer's log-probabilities, given the probabilities of the causes above it."""


def negative_free_energies(name: str, log_probs: LayerLogProbs, programs: Programs) -> Tensor:
    """``-F`` summed over the data, ``[restarts]``, in nats.

    Args:
        name: of the scheme, for messages.
        log_probs: what stands for the log-probabilities of a layer.
        programs: a belief network and its recognition network, with ``observations={"x": values}`` of shape
            ``[data, units]`` or ``[restarts, data, units]``.

    Raises:
        TypeError: for other programs or arguments, or an ``x`` that is no tensor.
        ValueError: for a model and guide that differ in sizes, or observations other than an ``x`` of zeros and ones of
            one of these shapes.

    """
    model: Any = programs.model
    x = checked_layers(name, programs)
    hidden = programs.guide.mean_field({"x": x})
    means = [layer.mean for layer in hidden]
    negative: Tensor = hidden[0].entropy().sum(-1)
    for recognised in hidden[1:]:
        negative = negative + recognised.entropy().sum(-1)
    for term in expected_log_probs(log_probs, model, x, means, means):
        negative = negative + term
    return sum_over_data(negative, model.restarts)


def checked_layers(name: str, programs: Programs) -> Tensor:
    """The data ``[data, units]`` or ``[restarts, data, units]``; errors as of :func:`negative_free_energies`."""
    model, guide = programs.model, programs.guide
    takes_guide = guide is None or (is_own(guide) and isinstance(guide, FactorialRecognition))
    if not (takes_guide and is_own(model) and isinstance(model, BeliefNetwork)):
        raise TypeError(
            f"{name} passes means instead of samples through the layers of a BeliefNetwork and a FactorialRecognition, "
            f"got a {type(model).__name__} and a {type(guide).__name__}; for other programs use a scheme that samples"
        )
    if guide is not None:
        check_sizes_agree(model, guide)
    model.check_takes_means()
    return _checked_x(name, model.restarts, *programs.args, **programs.kwargs)


def expected_log_probs(
    log_probs: LayerLogProbs, model: Any, x: Tensor, hidden: Sequence[Tensor], means: Sequence[Tensor]
) -> list[Tensor]:
    """What stands for the log-probability of each layer, summed over its units, bottom to top, ``[..., data]``.

    Args:
        log_probs: as of :func:`negative_free_energies`.
        model: a belief network.
        x: data, NaN where missing.
        hidden: states or probabilities of the hidden units, of which the log-probabilities are.
        means: probabilities of the hidden units in their place as causes of the layer below.

    """
    visible, *layers = model.layer_log_probs(log_probs, means)
    x = x.to(means[0])
    if has_missing(x):  # a missing unit is neither on nor off
        observed = ~x.isnan()
        visible = LogProbs(*(torch.where(observed, log_prob, 0.0) for log_prob in visible))
        x = torch.where(observed, x, 0.0)
    return [expected_log_prob(q, layer) for q, layer in zip([x, *hidden], [visible, *layers], strict=True)]


def checked_max_enumerated(max_enumerated: int) -> int:
    """The number of units, unchanged; ValueError unless it is an integer from 0 to 20."""
    if not is_whole(max_enumerated) or not 0 <= max_enumerated <= MOST_ENUMERATED:
        raise ValueError(
            f"max_enumerated must be a number of units, an integer from 0 to {MOST_ENUMERATED}, got {max_enumerated!r}"
        )
    return max_enumerated


def checked_tolerance(tolerance: float | None) -> float | None:
    """The number of nats itself, or None; ValueError for one that is not between 0 and 1."""
    if tolerance is not None and not 0 < number("tolerance", tolerance) < 1:
        raise ValueError(f"tolerance must be a number of nats between 0 and 1, got {tolerance}")
    return tolerance


def mean_log(layer: Imaging, q: Tensor, tolerance: float | None, max_enumerated: int) -> LogProbs:
    """Expected log-probabilities ``[..., units]`` under causes of means ``q[..., k]``; tolerance by dtype if None."""
    if tolerance is None:
        tolerance = 1e-10 if q.dtype == torch.float64 else 1e-5
    return layer.mean_log(q, tolerance=tolerance, max_enumerated=max_enumerated)


def _checked_x(name: str, restarts: int, observations: Any = None, *others: Any, **named: Any) -> Tensor:
    if others or named:
        more = ", ".join(named) or f"{1 + len(others)} arguments"
        raise TypeError(f'{name} takes observations={{"x": values}} and no other argument, got {more}')
    if not isinstance(observations, Mapping) or set(observations) != {"x"}:
        given = sorted(observations) if isinstance(observations, Mapping) else type(observations).__name__
        raise ValueError(f'{name} takes observations={{"x": values}}, got {given}')
    x = observations["x"]
    if not isinstance(x, Tensor):
        raise TypeError(f"observations of 'x' must be a torch tensor, got {type(x).__name__}")
    if x.dim() > 3 or (x.dim() == 3 and len(x) not in (1, restarts)):
        raise ValueError(
            f"observations of 'x' must have shape [data, units] or [{restarts}, data, units], data for each restart; "
            f"got {list(x.shape)}"
        )
    if is_validation_enabled() and not bool((constraints.boolean.check(x) | x.isnan()).all()):
        raise ValueError("observations of 'x' must be 0 or 1 everywhere, or NaN where missing")
    return x


def expected_log_prob(q: Tensor, log_probs: LogProbs) -> Tensor:
    """``sum_j q_j on_j + (1 - q_j) off_j``, ``[..., data]``, of units that are on with probability q."""
    # a unit that is certainly off may have log p = -inf for on, and 0 * -inf is no number, nor is it in the gradient
    on, off = torch.where(q > 0, log_probs.on, 0.0), torch.where(q < 1, log_probs.off, 0.0)
    return (q * on + (1 - q) * off).sum(-1)


def sum_over_data(per_datum: Tensor, restarts: int) -> Tensor:
    """Total over the data, ``[restarts]``, with the scale and mask of any handlers around the scheme."""
    with poutine.trace() as recorded, layer_plates(restarts, per_datum.shape[-1]):
        pyro.factor("free_energy", per_datum)
    recorded.trace.compute_log_prob()
    scaled: Tensor = recorded.trace.nodes["free_energy"]["log_prob"]
    return scaled.reshape(restarts, -1).sum(-1)
