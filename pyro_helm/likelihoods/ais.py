"""Log-likelihoods of binary hierarchies by annealed importance sampling (Neal 2001).

    log p(x) ~ log mean over chains of w,   w = product over t of f_t(h_{t-1}) / f_{t-1}(h_{t-1})

where ``h_0`` is drawn from the guide or the prior and ``h_t`` from ``h_{t-1}`` by Gibbs moves that leave ``f_t`` as it
is (:mod:`pyro_helm.likelihoods.annealing`). ``w`` is unbiased for ``p(x)``, so its logarithm is a stochastic lower
bound. Run backwards from an exact draw of the posterior, which data dreamt by the model come with, ``w`` is unbiased
for ``1 / p(x)`` and minus its logarithm an upper bound (Grosse, Ghahramani & Adams 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from torch import Tensor

from pyro_helm.guides import AutoregressiveRecognition, FactorialRecognition
from pyro_helm.guides.bottom_up import BottomUp
from pyro_helm.latents.gibbs_moves import factors, path_dtype, without_missing_units
from pyro_helm.likelihoods.annealing import anneal, temperatures
from pyro_helm.likelihoods.importance import ImportanceEstimate, RunningWeights
from pyro_helm.likelihoods.proposals import prior
from pyro_helm.models import BeliefNetwork, LabelledBeliefNetwork
from pyro_helm.programs.labels import label_apart
from pyro_helm.programs.layered import site_names
from pyro_helm.programs.packed import Packed, unpacked
from pyro_helm.programs.particles import Program, draw_from_proposal
from pyro_helm.programs.rows import is_own
from pyro_helm.runtime.arguments import at_least_one

STARTS = ("guide", "prior")


def annealed_importance_sampling(
    model: Program,
    guide: Program | None,
    x: Tensor,
    *,
    num_chains: int = 16,
    schedule: int | Sequence[float] = 1000,
    start: str = "guide",
    draws_at_once: int = 20_000,
) -> ImportanceEstimate:
    """Estimate of ``log p(x)`` by annealed importance sampling.

    Its ``elbo`` is the mean of ``log w``: a lower bound, but not that of the guide.

    Args:
        model: a :class:`BeliefNetwork`.
        guide: a :class:`FactorialRecognition` or :class:`AutoregressiveRecognition`; may be None for a start from the
            prior.
        x: data ``[data, units]``, or ``[restarts, data, units]`` if each restart has its own; of programs that are
            conditioned on a label, rows as :func:`~pyro_helm.programs.packed.as_rows` makes them.
        num_chains: chains per datum and restart.
        schedule: number of steps of a sigmoid schedule, or inverse temperatures from 0 to 1.
        start: ``"guide"`` or ``"prior"``.
        draws_at_once: states (chains x restarts x data) held in memory.

    Raises:
        TypeError: for another model, or a guide that can't be annealed from.
        ValueError: for settings out of range.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> annealed_importance_sampling(model, guide, torch.ones(2, 6), schedule=20).log_likelihood.shape
    torch.Size([1, 2])
    """
    network, recognition = check_annealed(model, guide, num_chains, start)
    proposal = prior(model) if guide is None or start == "prior" else guide
    betas = temperatures(schedule)
    chains_at_once = _chains_at_once(network, num_chains, draws_at_once)
    rows_at_once = max(1, draws_at_once // (network.restarts * num_chains))
    estimates = []
    with torch.no_grad(), pyro.validation_enabled(False):
        for rows in x.split(rows_at_once, dim=-2):
            weights = RunningWeights(num_chains)
            given, label = label_apart(unpacked(model, rows), network.condition, rows.dtype)
            assert given is not None
            seen, _ = without_missing_units(factors(network, recognition, label), given["x"])
            for number in chains_at_once:
                weights.add(anneal(seen, _start(network, proposal, rows, given["x"], number), betas))
            estimates.append(weights.estimate())
    return ImportanceEstimate(*(torch.cat(parts, dim=-1) for parts in zip(*estimates, strict=True)))


def reverse_ais(
    model: BeliefNetwork,
    guide: Program | None,
    units: Sequence[Tensor],
    *,
    num_chains: int = 16,
    schedule: int | Sequence[float] = 1000,
    start: str = "guide",
    draws_at_once: int = 20_000,
) -> Tensor:
    """Stochastic upper bound on ``log p(x)``, ``[restarts, data]``, for data that the model has dreamt.

    Args:
        model: as for :func:`ais`, as are the settings; ``start`` is where the chains end.
        guide: likewise.
        units: ``[x, h1, h2, ...]``, each ``[restarts, data, units]``, a joint draw of the model.
        num_chains: chains per datum and restart.
        schedule: as for :func:`ais`, and gone through backwards.
        start: likewise.
        draws_at_once: likewise.

    """
    with torch.no_grad():
        path = factors(*check_annealed(model, guide, num_chains, start))
    betas = temperatures(schedule)[::-1]
    rows_at_once = max(1, draws_at_once // (model.restarts * num_chains))
    bounds = []
    with torch.no_grad(), pyro.validation_enabled(False):
        for rows in zip(*(layer.split(rows_at_once, dim=-2) for layer in units), strict=True):
            weights = RunningWeights(num_chains)
            for number in _chains_at_once(model, num_chains, draws_at_once):
                chains = [layer.to(path_dtype(model)).expand(number, *layer.shape) for layer in rows]
                weights.add(anneal(path, chains, betas))
            bounds.append(-weights.estimate().log_likelihood)
    return torch.cat(bounds, dim=-1)


def check_annealed(
    model: Program, guide: Program | None, num_chains: int, start: str
) -> tuple[BeliefNetwork, BottomUp | None]:
    """The network, and the recognition network that chains start from; None if they start from the prior.

    Raises:
        TypeError: for programs that can't be annealed.
        ValueError: for settings out of range.

    """
    if start not in STARTS:
        raise ValueError(f"start must be guide or prior, got {start!r}")
    at_least_one("num_chains", num_chains)
    model = model.program if isinstance(model, Packed) else model
    guide = guide.program if isinstance(guide, Packed) else guide
    if not (isinstance(model, BeliefNetwork) and is_own(model)):
        raise TypeError(
            f"AIS anneals the layers of a BeliefNetwork, got a {type(model).__name__}; use log_likelihood with "
            'method="importance" or "exact"'
        )
    if isinstance(model, LabelledBeliefNetwork) or not model.has_binary_causes:
        what = "a latent label" if isinstance(model, LabelledBeliefNetwork) else "categorical hidden layers"
        raise TypeError(f'method="ais" anneals binary hidden layers alone, got {what}; use method="importance"')
    if start == "prior":
        return model, None
    kinds = (FactorialRecognition, AutoregressiveRecognition)
    if not (isinstance(guide, kinds) and is_own(guide) and guide.trunk is None):
        what = "one with a trunk" if isinstance(guide, kinds) else type(guide).__name__
        raise TypeError(
            "annealing from the guide needs a FactorialRecognition or AutoregressiveRecognition without a trunk, got "
            f'{what}; use start="prior"'
        )
    if guide.condition != model.condition:
        raise ValueError(
            "annealing needs model and guide with the same condition, got condition="
            f'{model.condition} and {guide.condition}; or use start="prior"'
        )
    return model, guide


def _chains_at_once(model: BeliefNetwork, num_chains: int, draws_at_once: int) -> list[int]:
    """The chains in pieces, for when those of one datum alone are too many to hold."""
    most = max(1, draws_at_once // model.restarts)
    return [min(most, num_chains - done) for done in range(0, num_chains, most)]


def _start(model: BeliefNetwork, proposal: Program, rows: Tensor, x: Tensor, num_chains: int) -> list[Tensor]:
    """Data and draws of the hidden layers, ``[chains, restarts, data, units]``."""
    # scored under itself, since only the draws are wanted
    sites = draw_from_proposal(proposal, proposal, num_chains, {"observations": {"x": rows}}).guide_sites
    shape = (num_chains, model.restarts, x.shape[-2])
    x = x.nan_to_num(nan=0.0)  # missing units are left out of the path
    hidden = [sites[name]["value"].reshape(*shape, -1) for name in site_names(model.sizes)[1:]]
    return [layer.to(path_dtype(model)) for layer in (x.expand(1, model.restarts, *x.shape[-2:]), *hidden)]
