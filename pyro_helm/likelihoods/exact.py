"""Exact log-likelihoods by enumeration: layer by layer for belief networks, over joint states for other programs.

``2^(n1 + n2) + 2^(n2 + n3) + ...`` multiplications and ``data x 2^n1`` terms for a belief network, the product of all
numbers of states times the data for any other Pyro model with Bernoulli and Categorical sites.
"""

from __future__ import annotations

import math

import pyro
import torch
from torch import Tensor

from pyro_helm.latents.joint_states import all_joint_states, discrete_sites, log_joint, num_states
from pyro_helm.latents.layer_states import PAIRS_PER_TERM, levels, log_marginal, num_terms
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.observations import observing
from pyro_helm.programs.particles import Program
from pyro_helm.programs.rows import Rows, check_number, distinct, in_pieces, is_own, may_be_divided, restarts_of
from pyro_helm.runtime.arguments import at_least_one

MAX_TERMS_OF_LAYERS = 2**35
"""Terms that are summed layer by layer unless more are asked for: some minutes on one core."""

MAX_STATES_OF_A_LAYER = 2**27
"""Times restarts: their probabilities are held in memory, in 2 GB or so."""

MAX_TERMS_OF_JOINT_STATES = 2**29
"""Likewise over joint states, where each term is a run of the program."""

TERMS_AT_ONCE = 2**22


def exact_log_likelihood(
    model: Program,
    x: Tensor,
    *,
    max_terms: int | None = None,
    terms_at_once: int = TERMS_AT_ONCE,
    rows: Rows | None = None,
) -> Tensor:
    """``log p(x)`` in nats, ``[restarts, data]``, by summing over every state of the latent sites.

    Rows of data that are equal are scored once where rows may be divided.

    Args:
        model: a :class:`BeliefNetwork`, or any Pyro model with Bernoulli and Categorical latent sites.
        x: data ``[data, units]``.
        max_terms: refuse to sum over more; None for what takes some minutes.
        terms_at_once: numbers held in memory: restarts x values x states, and restarts x units x states.
        rows: as for :func:`~pyro_helm.likelihoods.scores.log_likelihood`.

    Raises:
        TypeError: for a model with other latent sites.
        ValueError: for more terms than ``max_terms``, or a layer of more states than can be held.

    >>> exact_log_likelihood(BeliefNetwork((6, 4, 2), seed=0), torch.ones(3, 6)).shape
    torch.Size([1, 3])
    """
    divided = may_be_divided(rows, model)
    different, place = distinct(x, divided=divided)
    with torch.no_grad(), pyro.validation_enabled(False):
        if isinstance(model, BeliefNetwork) and is_own(model) and model.is_chain and model.has_binary_causes:
            check_layers(model, len(different), max_terms)
            *_, lowest = levels(model, terms_at_once, different)
            log_p = log_marginal(model.generative[0], different, lowest, terms_at_once)
        else:
            check_joint_states(model, different, max_terms, divided=divided)
            log_p = _joint(model, different, terms_at_once, divided)
    return log_p[:, place] if divided else log_p


def check_layers(
    model: BeliefNetwork, num_data: int, max_terms: int | None, *, pairs_per_term: int = PAIRS_PER_TERM
) -> None:
    """Refuse to sum layer by layer over too many terms, or over a layer of more states than can be held."""
    widest = max(model.sizes[1:])
    if 2**widest * model.restarts > MAX_STATES_OF_A_LAYER:
        most = f"2^{math.log2(MAX_STATES_OF_A_LAYER):.0f}"
        restarts = "" if model.restarts == 1 else f" in each of {model.restarts} restarts"
        fewer = "score fewer restarts, or " if restarts else ""
        raise ValueError(
            f"a hidden layer of {widest} units{restarts} has too many states to hold in memory, 2^{widest}; at "
            f'most {most} in all can be summed; {fewer}use method="importance" or method="ais"'
        )
    states = " and ".join(f"2^{size}" for size in model.sizes[1:]) + " states of the hidden layers"
    _check(
        num_terms(model, num_data, pairs_per_term=pairs_per_term),
        MAX_TERMS_OF_LAYERS if max_terms is None else max_terms,
        f"{states} and {num_data} data",
    )


def check_joint_states(model: Program, x: Tensor, max_terms: int | None, *, divided: bool) -> None:
    """Refuse to sum over too many joint states for data ``x[data, units]``."""
    joint = num_states(discrete_sites(model, observing(x[:1] if divided else x)))
    terms = joint * restarts_of(model) * len(x)
    states = f"2^{math.log2(joint):.1f} joint states of the latent sites and {len(x)} data"
    _check(terms, MAX_TERMS_OF_JOINT_STATES if max_terms is None else max_terms, states)


def _check(terms: int, max_terms: int, states: str) -> None:
    max_terms = at_least_one("max_terms", max_terms)
    if terms > max_terms:
        raise ValueError(
            f"{states} make a sum of 2^{math.log2(terms):.1f} terms, more than max_terms "
            f"(2^{math.log2(max_terms):.1f}), which would take too long; raise max_terms, or use "
            'method="importance" or method="ais"'
        )


def _joint(model: Program, x: Tensor, terms_at_once: int, divided: bool) -> Tensor:
    total = []
    for rows in pieces_of_rows(model, x, terms_at_once, divided):
        sites = discrete_sites(model, observing(rows))  # anew, since plates are as long as the data
        log_p = torch.tensor(-torch.inf, device=x.device)
        for values in all_joint_states(sites, states_per_piece(x, len(rows), terms_at_once), x.device):
            log_p = torch.logaddexp(log_p, log_joint(model, observing(rows), sites, values).logsumexp(0))
        total.append(check_number(log_p, len(rows), divided=divided))
    return torch.cat(total, dim=-1)


def pieces_of_rows(model: Program, x: Tensor, terms_at_once: int, divided: bool) -> tuple[Tensor, ...]:
    """Pieces of ``x[data, units]`` scored at once where every joint state is scored with every datum."""
    states = num_states(discrete_sites(model, observing(x[:1]))) if divided else 1
    return in_pieces(x, max(1, terms_at_once // (min(states, 1024) * x.shape[-1])), divided=divided)


def states_per_piece(x: Tensor, rows: int, terms_at_once: int) -> int:
    """Joint states scored at once with so many data of ``x[data, units]``."""
    return max(1, terms_at_once // (rows * x.shape[-1]))
