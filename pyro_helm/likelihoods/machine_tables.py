"""What people want of a trained machine, as DataFrames with the names of units: codes, draws and predictions.

    codes             E[h | x],  by the guide or by its weighted draws
    reconstructions   E[x | h] averaged over the guide's draws of h
    posterior draws   h ~ p(h | x),  drawn again from the guide's draws by their weights (Rubin 1988)
    predictive        x' ~ p(x | h),  h ~ p(h | x)

``.to_numpy()`` gives the array. Rows are ``datum``, with ``draw`` and, where there are several, ``restart`` before it;
a DataFrame's own index and columns are kept.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pyro
import torch
from torch import Tensor

from pyro_helm.data.named_observations import DataLike, observed_data, unit_names
from pyro_helm.likelihoods.imputation import observed_site
from pyro_helm.likelihoods.unit_frames import Blocks, blocks, framed
from pyro_helm.programs.discrete import unit_means, unit_values
from pyro_helm.programs.layered import check_sizes_agree
from pyro_helm.programs.module_state import evaluating
from pyro_helm.programs.observations import check_data, observing
from pyro_helm.programs.packed import as_rows
from pyro_helm.programs.param_store import stores_apart
from pyro_helm.programs.particles import Particles, Program, draw_from_guide, score
from pyro_helm.programs.rows import in_pieces, may_be_divided
from pyro_helm.runtime.arguments import at_least_one, checked_seed
from pyro_helm.runtime.seeding import forked_rng

_ROWS_AT_ONCE = 500


def codes(
    model: Program,
    guide: Program,
    data: DataLike,
    *,
    method: str = "recognition",
    num_samples: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """Means of every hidden layer given each datum.

    One column per unit, ``h1.0, h1.1, ...``; of sequences one per step and unit, ``h1.0.0, h1.0.1, ...``; of a
    Categorical site one per value, with its probability.

    Args:
        model: Pyro model.
        guide: its guide.
        data: as for :func:`log_likelihood`.
        method: ``"recognition"`` for the guide's own means, ``"importance"`` for those of the posterior, by the weights
            ``p(x, h) / q(h | x)`` of its draws.
        num_samples: draws per datum.
        seed: of the draws.

    >>> model, guide = BeliefNetwork((3, 2), seed=0), FactorialRecognition((3, 2), seed=0)
    >>> codes(model, guide, torch.ones(4, 3)).columns.tolist()
    ['h1.0', 'h1.1']
    """
    if method not in ("recognition", "importance"):
        raise ValueError(f"method must be recognition or importance, got {method!r}")

    def means(particles: Particles, rows: Tensor) -> Blocks:
        weight = particles.log_weight.softmax(0) if method == "importance" else None
        found = {}
        for name, site in particles.guide_sites.items():
            # given the layer below the guide's mean is known; under weights that are of the draw the draw it is
            value = unit_means(site["fn"], site["value"]) if weight is None else unit_values(site["fn"], site["value"])
            value = blocks(value, (num_samples, particles.restarts, len(rows)))
            share = 1 / num_samples if weight is None else weight.reshape(*weight.shape, *[1] * (value.dim() - 3))
            found[name] = (share * value).sum(0, keepdim=True)
        return found

    return framed(_of_draws(model, guide, data, num_samples, seed, means), data, None)


def reconstructions(
    model: Program, guide: Program, data: DataLike, *, num_samples: int = 100, seed: int = 0
) -> pd.DataFrame:
    """Mean of ``x`` given what the guide recognises in it.

    The mean of a binary unit is its probability to be 1.

    Args:
        model: Pyro model.
        guide: its guide.
        data: as for :func:`log_likelihood`.
        num_samples: draws of the guide per datum.
        seed: of the draws.

    """

    def means(particles: Particles, rows: Tensor) -> Blocks:
        value = unit_means(observed_site(particles)["fn"])
        return {"x": blocks(value, (num_samples, particles.restarts, len(rows))).mean(0, keepdim=True)}

    return framed(_of_draws(model, guide, data, num_samples, seed, means), data, unit_names(data))


def posterior_draws(
    model: Program, guide: Program, data: DataLike, *, num_draws: int = 10, num_samples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """States of the hidden units, drawn from the posterior.

    They are chosen among draws of the guide by their weights.

    Args:
        model: Pyro model.
        guide: its guide.
        data: as for :func:`log_likelihood`.
        num_draws: per datum.
        num_samples: draws of the guide to choose from; the more, the closer to the posterior.
        seed: of the draws.

    """
    return framed(
        _of_draws(model, guide, data, num_samples, seed, lambda p, rows: _resampled(p, rows, num_draws)), data, None
    )


def posterior_predictive(
    model: Program, guide: Program, data: DataLike, *, num_draws: int = 10, num_samples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """New rows ``x`` like each datum: the posterior predictive.

    Their hidden units are drawn from the posterior of the datum.

    Args:
        model: Pyro model.
        guide: its guide.
        data: as for :func:`log_likelihood`.
        num_draws: per datum.
        num_samples: as for :func:`posterior_draws`.
        seed: of the draws.

    """
    shown: list[Program] = []

    def drawn(particles: Particles, rows: Tensor) -> Blocks:
        states = _resampled(particles, rows, num_draws)
        values = {
            name: states[name].reshape(*states[name].shape[:3], *site["fn"].event_shape)
            for name, site in particles.guide_sites.items()
        }
        site = observed_site(score(shown[0], values, kwargs=observing(rows)))
        return {"x": blocks(site["fn"].sample(), (num_draws, particles.restarts, len(rows)))}

    return framed(_of_draws(model, guide, data, num_samples, seed, drawn, shown), data, unit_names(data))


def _of_draws(
    model: Program,
    guide: Program,
    data: DataLike,
    num_samples: int,
    seed: int,
    of: Callable[[Particles, Tensor], Blocks],
    shown: list[Program] | None = None,
) -> Blocks:
    """What is made of draws of the guide, for all data."""
    num_samples, seed = at_least_one("num_samples", num_samples), checked_seed(seed)
    observations, _ = observed_data(data)
    divided = may_be_divided(None, model, guide)
    with evaluating(model, guide), stores_apart(model, guide), torch.no_grad(), pyro.validation_enabled(False):
        check_data(model, observations, divided=divided)
        check_sizes_agree(model, guide)
        packed, packed_guide, x = as_rows(model, guide, observations)
        assert packed_guide is not None
        if shown is not None:
            shown.append(packed)
        with forked_rng(seed, x.device):
            pieces = [
                of(draw_from_guide(packed, packed_guide, num_samples, kwargs=observing(rows)), rows)
                for rows in in_pieces(x, _ROWS_AT_ONCE, divided=divided)
            ]
    return {name: torch.cat([piece[name] for piece in pieces], dim=2) for name in pieces[0]}


def _resampled(particles: Particles, rows: Tensor, num_draws: int) -> Blocks:
    """States of the guide's sites, each drawn from its draws by their weights."""
    num_samples = len(particles.log_weight)
    shape = (num_samples, particles.restarts, len(rows))
    weight = particles.log_weight.expand(shape).softmax(0).movedim(0, -1)
    chosen = torch.multinomial(weight.flatten(0, 1), at_least_one("num_draws", num_draws), replacement=True)
    chosen = chosen.T.reshape(num_draws, *shape[1:])
    values = {name: blocks(site["value"], shape) for name, site in particles.guide_sites.items()}
    restart, datum = (torch.arange(size, device=chosen.device) for size in shape[1:])
    return {name: value[chosen, restart[:, None], datum] for name, value in values.items()}
