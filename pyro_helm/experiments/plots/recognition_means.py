"""What recognition makes of data: means of the units, the mean picture they stand for, and a dream from a draw."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor
from torch.distributions import Categorical

from pyro_helm.likelihoods.imputation import observed_site
from pyro_helm.programs.discrete import elementwise, unit_means
from pyro_helm.programs.module_state import evaluating
from pyro_helm.programs.observations import as_observed, observing
from pyro_helm.programs.param_store import stores_apart
from pyro_helm.programs.particles import Program, draw_from_guide
from pyro_helm.runtime.arguments import at_least_one, checked_seed, is_whole
from pyro_helm.runtime.device import check_scored
from pyro_helm.runtime.seeding import forked_rng


class Recognised(NamedTuple):
    """Of one restart, on the CPU: ``units`` by latent site, ``mean`` and ``dream`` of the data, ``[data, *event]``.

    A Categorical site has a unit for each value.
    """

    units: dict[str, Tensor]
    mean: Tensor
    dream: Tensor


def recognised(model: Program, guide: Program, x: Tensor, *, restart: int, num_draws: int, seed: int) -> Recognised:
    """Draw ``h ~ q(h | x)``, and average the probabilities of the units over the draws.

    Args:
        model: any Pyro model.
        guide: its guide.
        x: ``[data, units]``.
        restart: which restart.
        num_draws: draws per datum.
        seed: of the draws; the caller's random state is left alone.

    Raises:
        ValueError: for a restart that there is not, or data that the programs can't take.

    """
    check_scored(model, guide)
    num_draws, seed = at_least_one("num_draws", num_draws), checked_seed(seed)
    with (
        evaluating(model, guide),
        stores_apart(model, guide),
        torch.no_grad(),
        pyro.validation_enabled(False),
        forked_rng(seed, x.device),
    ):
        particles = draw_from_guide(model, guide, num_draws, kwargs=observing(as_observed(model, x)), shared=True)
        last = particles.restarts - 1
        if not is_whole(restart) or not 0 <= restart <= last:
            raise ValueError(f"restart must be from 0 to {last}, got {restart!r}")
        shape = num_draws, particles.restarts, len(x)
        hidden = {name: site["fn"] for name, site in particles.guide_sites.items() if not site["is_observed"]}
        observed = observed_site(particles)["fn"]
        return Recognised(
            {name: _of(unit_means(fn), fn, shape, restart).mean(0) for name, fn in hidden.items()},
            _of(observed.mean, observed, shape, restart).mean(0),
            _of(observed.sample(), observed, shape, restart)[0],
        )


def _of(values: Tensor, fn: Any, shape: tuple[int, ...], restart: int) -> Tensor:
    """One restart of values that may lack or share dimensions of particles, restarts or data: ``[..., *event]``."""
    units = values.shape[-1:] if isinstance(elementwise(fn), Categorical) else ()
    return values.expand(*shape, *fn.event_shape, *units)[:, restart].cpu()
