"""Exact posteriors: their marginals, their entropy, and how far a guide is from them.

For a belief network ``p(h1, h2, ... | x) = p(h1 | x) p(h2 | h1) ...``, so that each layer's entropy, means and
divergence are tables over the states of the layer below it, with a term for each pair of states:

    H(v) = sum over s of p(s | v) [ -log p(s | v) + H(s) ]
    KL(v) = sum over s of q(s | v) [ log q(s | v) - log p(s | v) + KL(s) ]

KL(q || p(h | x)) is the gap between ``log p(x)`` and the evidence lower bound (Dayan, Hinton, Neal & Zemel 1995, 2.5,
2.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeGuard

import pandas as pd
import pyro
import torch
from torch import Tensor

from pyro_helm.data.named_observations import DataLike, observed_data
from pyro_helm.guides import FactorialRecognition
from pyro_helm.latents.joint_states import DiscreteSite, all_joint_states, discrete_sites, log_joint
from pyro_helm.latents.layer_states import Level, Rows, joint_table, levels, log_marginal, pieces
from pyro_helm.layers import Imaging
from pyro_helm.likelihoods.exact import (
    TERMS_AT_ONCE,
    check_joint_states,
    check_layers,
    pieces_of_rows,
    states_per_piece,
)
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.layered import check_sizes_agree, site_names
from pyro_helm.programs.module_state import evaluating
from pyro_helm.programs.observations import check_data, observing
from pyro_helm.programs.packed import as_rows
from pyro_helm.programs.param_store import stores_apart
from pyro_helm.programs.particles import Program, draw_from_guide
from pyro_helm.programs.rows import Rows as HowRows
from pyro_helm.programs.rows import check_number, is_own, may_be_divided
from pyro_helm.runtime.arguments import at_least_one
from pyro_helm.runtime.device import check_scored
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.runtime.shown import Card, Shown, listed


@dataclass(frozen=True, repr=False)
class Posterior(Shown):
    """The exact posterior ``p(h | x)`` of each datum, in nats.

    Attributes:
        log_likelihood: ``log p(x)``, ``[restarts, data]``.
        entropy: of the joint posterior, ``[restarts, data]``.
        marginals: by site, the probability that a unit is on, ``[restarts, data, units]``; of a Categorical site the
            probability of each category, ``[restarts, data, *event, categories]``.
        kl: ``KL(q || p(h | x))`` of the guide, ``[restarts, data]``, infinite where the guide has states that the
            posterior has not; None without a guide.

    """

    log_likelihood: Tensor
    entropy: Tensor
    marginals: Mapping[str, Tensor]
    kl: Tensor | None
    model: Program = field(repr=False)
    data: Tensor = field(repr=False)

    def _card(self) -> Card:
        columns = {"log_likelihood": self.log_likelihood, "entropy": self.entropy}
        columns |= {} if self.kl is None else {"kl": self.kl}
        means = {name: values.double().mean(1).tolist() for name, values in columns.items()}
        sites = [f"{name} {'x'.join(map(str, values.shape[2:])) or 1}" for name, values in self.marginals.items()]
        title = f"Posterior: exact p(h | x) of {self.log_likelihood.shape[1]} data, means in nats per datum"
        facts = [f"marginals of the sites {listed(sites)}"]
        facts += ["`kl` is KL(q || p(h | x)) of the guide"] * (self.kl is not None)
        notes = []
        if self.kl is not None and self.kl.isinf().any():
            infinite = int(self.kl.isinf().any(0).sum())
            notes = [f"on {infinite} data the guide gives probability to states that the posterior excludes: kl is inf"]
        return Card(title, facts, pd.DataFrame({"restart": range(len(self.entropy)), **means}), notes)

    def log_prob(self, values: Mapping[str, Tensor]) -> Tensor:
        """``log p(h | x)`` of joint states, ``[states, restarts, data]``, given by site as ``[states, *event]``."""
        with evaluating(self.model), stores_apart(self.model), torch.no_grad(), pyro.validation_enabled(False):
            sites = discrete_sites(self.model, observing(self.data))
            return log_joint(self.model, observing(self.data), sites, values) - self.log_likelihood


def exact_posterior(
    model: Program,
    guide: Program | None,
    data: DataLike,
    *,
    max_terms: int | None = None,
    terms_at_once: int = TERMS_AT_ONCE,
    rows: HowRows | None = None,
) -> Posterior:
    """The exact posterior of each datum, and how far a guide is from it.

    Args:
        model: a :class:`BeliefNetwork`, or any Pyro model with Bernoulli and Categorical latent sites.
        guide: of the same sites; None for the posterior alone. A :class:`FactorialRecognition` is summed layer by layer
            as the network is, any other guide over joint states.
        data: as for :func:`~pyro_helm.likelihoods.scores.log_likelihood`, NaN where missing.
        max_terms: refuse to sum over more; None for what takes some minutes.
        terms_at_once: numbers held in memory.
        rows: as for :func:`~pyro_helm.likelihoods.scores.log_likelihood`.

    Raises:
        TypeError: for a model with other latent sites.
        ValueError: for bad data, sizes that disagree, more terms than ``max_terms``, or a layer of more states than can
            be held.

    >>> model, guide = BeliefNetwork((6, 4, 2), seed=0), FactorialRecognition((6, 4, 2), seed=0)
    >>> posterior = exact_posterior(model, guide, torch.ones(3, 6))
    >>> posterior.marginals["h2"].shape, bool((posterior.kl > 0).all())
    (torch.Size([1, 3, 2]), True)
    """
    check_scored(model, guide)
    terms_at_once = at_least_one("terms_at_once", terms_at_once)
    observations, _ = observed_data(data)
    with evaluating(model, guide), stores_apart(model, guide), torch.no_grad(), pyro.validation_enabled(False):
        divided = may_be_divided(rows, model, guide)
        check_data(model, observations, divided=divided)
        check_sizes_agree(model, guide)
        model, guide, x = as_rows(model, guide, observations)
        own = is_own(model) and (guide is None or is_own(guide))
        by_layer = isinstance(model, BeliefNetwork) and model.is_chain and model.has_binary_causes
        if own and by_layer and isinstance(model, BeliefNetwork) and _is_summed_by_layer(guide):
            check_layers(model, len(x), max_terms, pairs_per_term=1)  # each pair has an entropy
            return _of_layers(model, guide, x, terms_at_once)
        check_joint_states(model, x, max_terms, divided=divided)
        if guide is not None:
            _check_pair(model, guide, x[:1] if divided else x)
        return _of_joint_states(model, guide, x, terms_at_once, divided)


def _is_summed_by_layer(guide: Program | None) -> TypeGuard[FactorialRecognition | None]:
    return guide is None or (
        isinstance(guide, FactorialRecognition) and guide.trunk is None and guide.condition is None
    )


def _check_pair(model: Program, guide: Program, x: Tensor) -> None:
    """Refuse a guide whose sites differ from the model's, by one draw that is thrown away."""
    with forked_rng(0, x.device):
        draw_from_guide(model, guide, 1, kwargs=observing(x))


class _Summary(NamedTuple):
    """What is known of the layers above a layer, for each of its states."""

    entropy: Tensor
    kl: Tensor
    means: Tensor


def _of_layers(model: BeliefNetwork, guide: FactorialRecognition | None, x: Tensor, terms_at_once: int) -> Posterior:
    nothing = x.new_zeros(1, 1)
    known = _Summary(nothing, nothing, x.new_zeros(1, 1, 0))
    hidden = list(levels(model, terms_at_once, x))
    below = [*hidden[1:], None]
    log_p = nothing
    recognition = [None] * len(hidden) if guide is None else list(reversed(guide.recognition))
    generative = list(reversed(list(model.generative)[:-1]))
    for above, under, layer, recogniser in zip(hidden, below, generative, recognition, strict=True):
        values = x if under is None else under.states
        log_p = log_marginal(layer, values, above, terms_at_once) if under is None else under.log_prob
        known = _given_below(layer, recogniser, values, log_p, above, known, terms_at_once)
    means = known.means.split(list(model.sizes[1:]), dim=-1)
    marginals = dict(zip(site_names(model.sizes)[1:], means, strict=True))
    return Posterior(log_p, known.entropy, marginals, None if guide is None else known.kl, model, x)


def _given_below(
    layer: Imaging,
    recogniser: Imaging | None,
    values: Rows,
    log_p: Tensor,
    above: Level,
    known: _Summary,
    terms_at_once: int,
) -> _Summary:
    """The summary for values of one layer from that for the states of the layer above it."""
    count = len(above.states)
    known = _Summary(*(table.expand(layer.restarts, count, *table.shape[2:]) for table in known))
    entropy, kl = torch.zeros_like(log_p), torch.zeros_like(log_p)
    means = log_p.new_zeros(*log_p.shape, above.states[0:1].shape[-1] + known.means.shape[-1])
    for states, rows in pieces(layer, len(values), count, terms_at_once):
        some_states = above.states[states]
        joint = joint_table(layer, some_states, above.log_prob[:, states])
        features = torch.cat([some_states.expand(layer.restarts, -1, -1), known.means[:, states]], dim=-1)
        for some in rows:
            log_post = joint(values[some]) - log_p[:, some, None]
            post = log_post.exp()
            entropy[:, some] += (post * (known.entropy[:, None, states] - log_post)).sum(-1)
            means[:, some] += post @ features
            if recogniser is not None:
                nothing = log_p.new_zeros(layer.restarts, some.stop - some.start)
                log_q = joint_table(recogniser, values[some], nothing)(some_states).mT
                kl[:, some] += (log_q.exp() * (log_q - log_post + known.kl[:, None, states])).sum(-1)
    return _Summary(entropy, kl, means)


def _of_joint_states(model: Program, guide: Program | None, x: Tensor, terms_at_once: int, divided: bool) -> Posterior:
    pieces = [
        _of_rows(model, guide, rows, states_per_piece(x, len(rows), terms_at_once), divided)
        for rows in pieces_of_rows(model, x, terms_at_once, divided)
    ]
    sites = discrete_sites(model, observing(x[:1] if divided else x))
    log_p, entropy, kl, means = (torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True))
    features = means.split([site.num_features for site in sites], dim=-1)
    marginals = {site.name: site.unflatten(feature) for site, feature in zip(sites, features, strict=True)}
    return Posterior(log_p, entropy, marginals, None if guide is None else kl, model, x)


def _of_rows(
    model: Program, guide: Program | None, x: Tensor, states_at_once: int, divided: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sites = discrete_sites(model, observing(x))
    log_p = torch.tensor(-torch.inf, device=x.device)
    for values in all_joint_states(sites, states_at_once, x.device):
        log_p = torch.logaddexp(log_p, log_joint(model, observing(x), sites, values).logsumexp(0))
    log_p = check_number(log_p, len(x), divided=divided)
    entropy, kl = torch.zeros_like(log_p), torch.zeros_like(log_p)
    means: Tensor = log_p.new_zeros(())
    for values in all_joint_states(sites, states_at_once, x.device):
        log_post = log_joint(model, observing(x), sites, values) - log_p
        post = log_post.exp()
        entropy += torch.special.entr(post).sum(0)
        means = means + torch.einsum("srd,sf->rdf", post, _features(sites, values).to(post))
        if guide is not None:
            log_q = log_joint(guide, observing(x), sites, values)
            # 0 log 0 is 0; a state of the guide's that the posterior has not makes the divergence infinite
            kl += torch.where(log_q == -torch.inf, 0.0, log_q.exp() * (log_q - log_post)).sum(0)
    return log_p, entropy, kl, means


def _features(sites: list[DiscreteSite], values: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([site.features(values[site.name]) for site in sites], dim=-1)
