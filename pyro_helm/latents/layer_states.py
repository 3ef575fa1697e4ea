"""Sums over the states of a belief network's layers, two adjacent layers at a time.

    log p(v) = logsumexp over s of [ log p(v | s) + log p(s) ],   s the states of the layer above v

taken from the top layer down, each layer's ``log p`` being the next one's prior. The other way up would carry a message
for each datum through every pair of layers; downwards there is one for all data, so this order is never the dearer, and
where v takes every state of a layer the sum is a product of two small matrices (:func:`log_prior`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_helm.layers import Imaging
from pyro_helm.layers.binary_states import AllStates
from pyro_helm.layers.missing import has_missing
from pyro_helm.models import BeliefNetwork

Rows = Tensor | AllStates
"""Data or states ``[rows, units]``, to be sliced."""

PAIRS_PER_TERM = 64
"""Pairs of states of adjacent layers that :func:`log_prior` sums in the time that a datum and a state take."""

_SMALLEST_SUM = 1e-280
"""What is lost of a sum of numbers up to 1 where they underflow, below 2.3e-308 each, is far from its last digit."""


class Level(NamedTuple):
    """Every state of one layer, with what holds once the layers above it are summed out.

    Attributes:
        states: ``[states, units]``.
        log_prob: ``log p(state)``, ``[restarts, states]``.

    """

    states: Rows
    log_prob: Tensor


def num_terms(model: BeliefNetwork, num_data: int, *, pairs_per_term: int = PAIRS_PER_TERM) -> int:
    """What a sum takes: ``restarts x (2^nL + [... + 2^(n2 + n3) + 2^(n1 + n2)] / pairs_per_term + data x 2^n1)``.

    More where states are too improbable for double precision, which take a term for each pair.

    >>> num_terms(BeliefNetwork((16, 6, 3)), num_data=10)  # 2^3 + 2^9 / 64 + 10 x 2^6
    656
    """
    hidden = model.sizes[1:]
    pairs = sum(2 ** (below + above) for below, above in pairwise(hidden))
    return model.restarts * int(2 ** hidden[-1] + -(-pairs // pairs_per_term) + num_data * 2 ** hidden[0])


def log_marginal(layer: Imaging, values: Rows, above: Level, terms_at_once: int) -> Tensor:
    """``log p(value)``, ``[restarts, values]``, in pieces of bounded size."""
    total = above.log_prob.new_full((layer.restarts, len(values)), -torch.inf)
    for states, rows in pieces(layer, len(values), len(above.states), terms_at_once):
        joint = joint_table(layer, above.states[states], above.log_prob[:, states])
        for some in rows:
            total[:, some] = torch.logaddexp(total[:, some], joint(values[some]).logsumexp(-1))
    return total


def log_prior(layer: Imaging, above: Level, terms_at_once: int) -> Tensor:
    """``log p(state)`` of every state of a layer, ``[restarts, states]``.

    A state is one f of the first half of the units and one g of the second, so that

        p(f, g) = sum over s of p(f | s) p(g | s) p(s)

    is a product of two matrices, with an exponential for each half and s where a sum in log space takes one for each
    state and s. The sum is in double precision whatever the model's; states too improbable for that have one in log
    space.
    """
    if layer.blocks:
        return log_marginal(layer, AllStates(layer.num_units, above.log_prob), above, terms_at_once)
    half, restarts = layer.num_units // 2, layer.restarts
    scale = above.log_prob.amax(1, keepdim=True)
    states = AllStates(layer.num_units, scale)
    halves = (AllStates(half, scale), AllStates(layer.num_units - half, scale))
    first, second = (of_half[0 : len(of_half)].double() for of_half in halves)
    total = first.new_zeros(restarts, len(first), len(second))
    width = 2 * layer.num_units + 1 + len(first) + len(second)
    for some in _slices(len(above.states), max(1, terms_at_once // (restarts * width))):
        table = JointTable(layer, above.states[some], above.log_prob[:, some] - scale).table.double()
        on, off, prior = table.split([layer.num_units, layer.num_units, 1], dim=-1)
        of_first = first @ on[..., :half].mT + (1 - first) @ off[..., :half].mT
        of_second = on[..., half:] @ second.mT + off[..., half:] @ (1 - second).mT + prior
        total.baddbmm_(of_first.exp_(), of_second.exp_())
    lost = total.flatten(1) < _SMALLEST_SUM
    log_p = total.log_().flatten(1).add_(scale).to(scale.dtype)
    for some in lost.any(0).nonzero().flatten().split(max(1, terms_at_once // layer.num_units)):
        in_log_space = log_marginal(layer, states[some], above, terms_at_once)
        log_p[:, some] = torch.where(lost[:, some], in_log_space, log_p[:, some])
    return log_p


def levels(model: BeliefNetwork, terms_at_once: int, like: Tensor) -> Iterator[Level]:
    """Every hidden layer's states ``[states, units]`` and log-prior, the top one first; in the dtype of ``like``."""
    # causes that do not exist: the top layer has its leak alone
    above = Level(like.new_zeros(1, 0), like.new_zeros(model.restarts, 1))
    for layer in reversed(model.generative[1:]):
        above = Level(AllStates(layer.num_units, like), log_prior(layer, above, terms_at_once))
        yield above


def pieces(layer: Imaging, num_values: int, num_states: int, terms_at_once: int) -> Iterator[tuple[slice, list[slice]]]:
    """Slices of the states, each with slices of the values, that keep within the memory granted."""
    states_at_once = max(1, terms_at_once // (layer.restarts * (2 * layer.num_units + 1)))
    # without a product of matrices every pair takes its units
    numbers = 1 if layer.is_binary and not layer.blocks else layer.num_units
    for states in _slices(num_states, states_at_once):
        rows_at_once = max(1, terms_at_once // (layer.restarts * (states.stop - states.start) * numbers))
        yield states, list(_slices(num_values, rows_at_once))


def _slices(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def joint_table(layer: Imaging, states: Tensor, log_prior: Tensor) -> Callable[[Tensor], Tensor]:
    """From values ``[values, units]`` to ``log p(value, state)``, ``[restarts, values, states]``."""
    if layer.is_binary and not layer.blocks:
        return JointTable(layer, states, log_prior)
    drive = layer.drive(states if states.shape[-1] else None).reshape(layer.restarts, 1, -1, layer.num_units)

    def of_values(values: Tensor) -> Tensor:
        values, observed = values[:, None, :], None
        if has_missing(values):
            observed, values = ~values.isnan(), values.nan_to_num(nan=0.0)
        of_pairs = drive
        if layer.blocks:
            lateral = values[:, 0] @ layer.lateral_weight
            of_pairs = drive + lateral.reshape(-1, len(values), 1, layer.num_units)
        return layer.log_prob(of_pairs, values, observed) + log_prior[:, None]

    return of_values


class JointTable:
    """``log p(value, state)`` for every pair, as one product of matrices."""

    def __init__(self, layer: Imaging, states: Tensor, log_prior: Tensor) -> None:
        drive = layer.drive(states if states.shape[-1] else None)
        units = layer.distribution(drive.reshape(layer.restarts, -1, layer.num_units))
        zero = log_prior.new_zeros(())
        log_on, log_off = units.log_prob(zero + 1), units.log_prob(zero)
        # log p and log (1 - p) are kept apart: from one product with the logit they would cancel
        self.table = torch.cat([log_on, log_off, log_prior[..., None]], dim=-1)

    def __call__(self, values: Tensor) -> Tensor:
        """``[restarts, values, states]`` for values ``[values, units]``."""
        ones = values.new_ones(len(values), 1)
        indicators = torch.cat([values, 1 - values, ones], dim=-1)
        if has_missing(values):  # a missing unit is neither on nor off, which leaves its factor out
            indicators = indicators.nan_to_num(nan=0.0)
        log_joint: Tensor = indicators @ self.table.mT
        return log_joint
