"""Exact log-likelihoods of belief networks by enumeration, layer by layer.

    log p(v_l) = logsumexp over all h of [ log p(v_l | h) + log p(h) ],   h the states of layer l + 1

from the top layer down, so that two adjacent layers are enumerated at a time, never the whole network:
``2^(n1 + n2) + 2^(n2 + n3) + ... + data x 2^n1`` terms.
"""

from __future__ import annotations

import pyro
import torch
from torch import Tensor

from pyro_helm.imaging import Imaging
from pyro_helm.models import BeliefNetwork

MAX_HIDDEN_UNITS = 20


def exact(model: BeliefNetwork, x: Tensor, *, terms_at_once: int = 2**22) -> Tensor:
    """``log p(x)`` in nats, ``[restarts, data]``, by summing over every state of the hidden layers.

    Args:
        model: a network of at most 20 hidden units.
        x: data ``[data, units]``.
        terms_at_once: bound on restarts x values x states, and restarts x units x states, held in memory.

    Raises:
        TypeError: for a model that is not a :class:`BeliefNetwork`.
        ValueError: for more hidden units than can be enumerated.

    """
    if not isinstance(model, BeliefNetwork):
        raise TypeError(
            f'method="exact" enumerates the layers of a BeliefNetwork, got a {type(model).__name__}; '
            'use method="importance"'
        )
    num_hidden = sum(model.sizes[1:])
    if num_hidden > MAX_HIDDEN_UNITS:
        raise ValueError(
            f'method="exact" sums over 2^{num_hidden} states of {num_hidden} hidden units and is offered for at most '
            f'{MAX_HIDDEN_UNITS}; use method="importance"'
        )
    top, *layers = reversed(model.generative)
    with torch.no_grad(), pyro.validation_enabled(False):
        states = all_states(top.num_units).to(x)
        log_prior = _log_prob(top, states, None)[:, :, 0]
        for layer in layers:
            values = x if layer is layers[-1] else all_states(layer.num_units).to(x)
            log_prior = _marginal(layer, values, states, log_prior, terms_at_once)
            states = values
    return log_prior


def _marginal(layer: Imaging, values: Tensor, states: Tensor, log_prior: Tensor, terms_at_once: int) -> Tensor:
    """``log sum over states of p(value | state) p(state)``, ``[restarts, values]``, in pieces of bounded size."""
    states_at_once = max(1, terms_at_once // (layer.restarts * layer.num_units))
    total = log_prior.new_full((layer.restarts, len(values)), -torch.inf)
    for some, prior in zip(states.split(states_at_once), log_prior.split(states_at_once, -1), strict=True):
        rows_at_once = max(1, terms_at_once // (layer.restarts * len(some)))
        terms = [
            (_log_prob(layer, rows, some) + prior[:, None, :]).logsumexp(-1) for rows in values.split(rows_at_once)
        ]
        total = torch.logaddexp(total, torch.cat(terms, dim=-1))
    return total


def all_states(num_units: int) -> Tensor:
    """Every binary state of some units, ``[2^units, units]``.

    >>> all_states(2)
    tensor([[0., 0.],
            [0., 1.],
            [1., 0.],
            [1., 1.]])
    """
    bits = torch.arange(num_units - 1, -1, -1)
    return ((torch.arange(2**num_units)[:, None] >> bits) & 1).float()


def _log_prob(layer: Imaging, values: Tensor, causes: Tensor | None) -> Tensor:
    """``log p(value | cause)`` for every pair, ``[restarts, values, causes]``."""
    drive = layer.drive(causes).reshape(layer.restarts, -1, layer.num_units)
    units = layer.distribution(drive)
    log_on = units.log_prob(values.new_ones(()))
    log_off = units.log_prob(values.new_zeros(()))
    # two products rather than one with the logit: log p and log (1 - p) must not cancel
    log_prob: Tensor = values @ log_on.mT + (1 - values) @ log_off.mT
    return log_prob
