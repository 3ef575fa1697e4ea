"""What recognition makes of data: means of the units, the mean picture they stand for, and a dream from a draw."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor
from torch.distributions import Categorical

from pyro_helm.data.named_observations import DataLike, main_name, observed_data
from pyro_helm.likelihoods.imputation import observed_site
from pyro_helm.programs.discrete import elementwise, unit_means
from pyro_helm.programs.module_state import evaluating
from pyro_helm.programs.observations import observing
from pyro_helm.programs.packed import as_rows
from pyro_helm.programs.param_store import stores_apart
from pyro_helm.programs.particles import Program, draw_from_guide
from pyro_helm.runtime.arguments import at_least_one, checked_seed, is_whole
from pyro_helm.runtime.device import check_scored
from pyro_helm.runtime.seeding import forked_rng


class Recognised(NamedTuple):
    """Of one restart, on the CPU: ``units`` by latent site, ``mean`` and ``dream`` of the data, ``[data, *event]``.

    A Categorical site has a unit for each value. ``data`` are those that were given, likewise.
    """

    units: dict[str, Tensor]
    mean: Tensor
    dream: Tensor
    data: Tensor


def recognised(
    model: Program, guide: Program, data: DataLike, *, restart: int, num_draws: int, seed: int
) -> Recognised:
    """Draw ``h ~ q(h | x)``, and average the probabilities of the units over the draws.

    Args:
        model: any Pyro model.
        guide: its guide.
        data: as for :func:`log_likelihood`.
        restart: which restart.
        num_draws: draws per datum.
        seed: of the draws; the caller's random state is left alone.

    Raises:
        ValueError: for a restart that there is not, or data that the programs can't take.

    """
    check_scored(model, guide)
    num_draws, seed = at_least_one("num_draws", num_draws), checked_seed(seed)
    observations, _ = observed_data(data)
    shown, shown_guide, x = as_rows(model, guide, observations)
    assert shown_guide is not None
    with (
        evaluating(model, guide),
        stores_apart(model, guide),
        torch.no_grad(),
        pyro.validation_enabled(False),
        forked_rng(seed, x.device),
    ):
        particles = draw_from_guide(shown, shown_guide, num_draws, kwargs=observing(x), shared=True)
        last = particles.restarts - 1
        if not is_whole(restart) or not 0 <= restart <= last:
            raise ValueError(f"restart must be from 0 to {last}, got {restart!r}")
        shape = num_draws, particles.restarts, len(x)
        hidden = {name: site for name, site in particles.guide_sites.items() if not site["is_observed"]}
        name = main_name(observations)
        observed = observed_site(particles, name)["fn"]
        return Recognised(
            {
                name: _of(unit_means(site["fn"], site["value"]), site["fn"], shape, restart).mean(0)
                for name, site in hidden.items()
            },
            _of(unit_means(observed), observed, shape, restart).mean(0),
            _of(observed.sample(), observed, shape, restart)[0],
            observations[name].cpu(),
        )


def _of(values: Tensor, fn: Any, shape: tuple[int, ...], restart: int) -> Tensor:
    """One restart of values that may lack or share dimensions of particles, restarts or data: ``[..., *event]``."""
    units = values.shape[-1:] if isinstance(elementwise(fn), Categorical) else ()
    return values.expand(*shape, *fn.event_shape, *units)[:, restart].cpu()
