"""``impute``: what missing values may be, by weighted draws of a guide.

    w_k            = p(x_observed, h_k) / q(h_k | x_observed),   h_k ~ q(h | x_observed),   v_k = w_k / sum_j w_j
    E[x_i | x_o]   ~ sum_k v_k E[x_i | h_k]
    Var[x_i | x_o] ~ sum_k v_k (Var[x_i | h_k] + E[x_i | h_k]^2) - E[x_i | x_o]^2

Given a state the mean of a missing value is known, so that no value need be drawn for it (Rao-Blackwellisation). The
error of such a self-normalised mean is ``sqrt(sum_k v_k^2 (E[x_i | h_k] - E[x_i | x_o])^2)`` by the delta method (Owen,
Monte Carlo theory, methods and examples, 2013, chapter 9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyro
import torch
from torch import Tensor

from pyro_helm.data.named_observations import DataLike, main_name, observed_data, unit_names
from pyro_helm.layers.one_hot_groups import OneHotGroups
from pyro_helm.likelihoods.unit_frames import framed
from pyro_helm.programs.discrete import elementwise, units_given
from pyro_helm.programs.layered import check_sizes_agree
from pyro_helm.programs.module_state import evaluating
from pyro_helm.programs.observations import as_observed, check_data, observing
from pyro_helm.programs.packed import as_rows
from pyro_helm.programs.param_store import stores_apart
from pyro_helm.programs.particles import Particles, Program, draw_from_guide, score
from pyro_helm.programs.rows import Rows, may_be_divided, restarts_of
from pyro_helm.runtime.arguments import at_least_one, checked_seed
from pyro_helm.runtime.device import check_scored
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.runtime.shown import Card, Shown

FEW = 10
"""Effective samples below which a mean is not to be trusted."""

NUMBERS_AT_ONCE = 4_000_000
"""Numbers (samples x restarts x data x units) held in memory at a time."""


_PARTS = ("mean", "std", "stderr", "draws")


@dataclass(frozen=True, repr=False)
class Imputation(Shown):
    """What missing values may be; observed ones are unchanged.

    Shapes are those of the data, ``[data, units]``, with restarts in front where there are several.

    Attributes:
        mean: posterior means of missing values; of a binary one, the probability that it is 1.
        std: posterior standard deviations, 0 where a value is observed.
        stderr: standard errors of ``mean`` for the number of samples, 0 where a value is observed.
        draws: ``[draws, ...]`` whole rows from the posterior, with what is dependent drawn together.
        ess: effective number of samples, ``[data]``; means of few are not to be trusted.
        rows: the data that were given; :meth:`table` has the names of a DataFrame.

    """

    mean: Tensor
    std: Tensor
    stderr: Tensor
    draws: Tensor
    ess: Tensor
    rows: Any = None

    def table(self, which: str = "mean") -> pd.DataFrame:
        """A part as a DataFrame, with the names of rows and units of the data.

        Args:
            which: ``"mean"``, ``"std"``, ``"stderr"`` or ``"draws"``, of which each row is a ``draw`` of a ``datum``,
                with ``restart`` between where there are several.

        Raises:
            ValueError: for another part.

        """
        if which not in _PARTS:
            raise ValueError(f"which must be one of {', '.join(_PARTS)}, got {which!r}")
        value: Tensor = getattr(self, which)
        value = value if which == "draws" else value[None]
        value = value[:, None] if self.ess.dim() == 1 else value
        name = main_name(self.rows) if isinstance(self.rows, Mapping) else "x"
        data = self.rows[name] if isinstance(self.rows, Mapping) else self.rows
        return framed({name: value}, data, unit_names(data))

    def _card(self) -> Card:
        shape, ess = tuple(self.mean.shape), self.ess.double()
        unsure = int((self.std > 0).sum())
        error, least, median = (float(value) for value in (self.stderr.max(), ess.min(), ess.median()))
        facts = [
            f"{unsure} of {self.mean.numel()} values are missing and uncertain; largest standard error of a mean "
            f"{error:.3f}; {len(self.draws)} draws of whole rows",
            f"effective samples per datum: median {median:.1f}, least {least:.1f}",
        ]
        few = int((ess < FEW).sum())
        notes = [f"the means of {few} data rest on fewer than {FEW} effective samples; use more"] * (few > 0)
        return Card(f"Imputation of data of shape {' x '.join(map(str, shape))}", facts, notes=notes)


def impute(
    model: Program,
    guide: Program,
    x: DataLike,
    *,
    num_samples: int = 1000,
    num_draws: int = 10,
    seed: int = 0,
    rows: Rows | None = None,
) -> Imputation:
    """Say what missing values may be: their means, spread and draws.

    They are posterior ones, by weighted draws of the guide.

    Args:
        model: a :class:`BeliefNetwork`, or any Pyro model that takes ``observations={"x": ...}`` and masks its missing
            values.
        guide: its guide, or any proposal.
        x: as for :func:`log_likelihood`, NaN where missing; of several observations ``x`` is imputed. Of a group of
            units of which one is on, what is missing is imputed given what is observed of the group: where another unit
            is known to be on it is 0, and else one of those that are missing is 1 in every draw.
        num_samples: weighted draws per datum and restart.
        num_draws: draws from the posterior per datum and restart.
        seed: of the draws; the caller's random state is left alone.
        rows: as for :func:`log_likelihood`.

    Raises:
        ValueError: for data that the model can't take, settings out of range, or several observations of which none is
            called ``x``.

    >>> model, guide = BeliefNetwork((3, 2), seed=0), FactorialRecognition((3, 2), seed=0)
    >>> x = torch.tensor([[1.0, torch.nan, 0.0]])
    >>> imputed = impute(model, guide, x, num_samples=100)
    >>> imputed.mean.shape, bool(0 < imputed.mean[0, 1] < 1), imputed.mean[0, 0].item()
    (torch.Size([1, 3]), True, 1.0)
    """
    check_scored(model, guide)
    observations, _ = observed_data(x)
    name = main_name(observations)
    if len(observations) > 1 and name != "x":
        raise ValueError(f"nothing is called 'x'; the data have {', '.join(map(repr, observations))}")
    num_samples, num_draws = at_least_one("num_samples", num_samples), at_least_one("num_draws", num_draws)
    seed, divided, restarts = checked_seed(seed), may_be_divided(rows, model, guide), restarts_of(model)
    with evaluating(model, guide), stores_apart(model, guide):
        check_data(model, observations, divided=divided)
        check_sizes_agree(model, guide)
        seen = as_observed(model, observations[name], name)
        packed_model, packed_guide, packed = as_rows(model, guide, observations)
        assert packed_guide is not None
        at_once = max(1, NUMBERS_AT_ONCE // (restarts * seen[0].numel()))
        with forked_rng(seed, seen.device), torch.no_grad(), pyro.validation_enabled(False):
            pieces = [
                _of_rows(
                    packed_model, packed_guide, some, its_x, name, num_samples, num_draws, max(1, at_once // len(some))
                )
                for some, its_x in zip(
                    *(rows.split(max(1, at_once // num_samples) if divided else len(rows)) for rows in (packed, seen)),
                    strict=True,
                )
            ]
    wholes: dict[str, Any] = {}
    for part, pieces_of in zip((*_PARTS, "ess"), zip(*pieces, strict=True), strict=True):
        leading = int(part == "draws")
        whole = torch.cat(pieces_of, dim=leading + 1)
        wholes[part] = whole.squeeze(leading) if restarts == 1 else whole
    return Imputation(**wholes, rows=x)


def _of_rows(
    model: Program,
    guide: Program,
    rows: Tensor,
    x: Tensor,
    name: str,
    num_samples: int,
    num_draws: int,
    samples_at_once: int,
) -> tuple[Tensor, ...]:
    """Mean, std, stderr, draws and ess of some rows, each with restarts in front (draws before them)."""
    sums = _Sums(name, num_draws)
    for done in range(0, num_samples, samples_at_once):
        number = min(samples_at_once, num_samples - done)
        sums.add(draw_from_guide(model, guide, number, kwargs=observing(rows)), x)
    missing = x.isnan()
    mean, std, stderr, ess = (value.to(x.dtype) for value in sums.moments())
    # of each draw's state, in which what is dependent is drawn together
    site = observed_site(score(model, sums.states, kwargs=observing(rows)), name)
    draws = _shaped(_completed(site["fn"], site["value"]).sample(), (num_draws, *mean.shape))
    kept = x.expand(mean.shape)
    nothing = torch.zeros_like(mean)
    return (
        torch.where(missing, mean, kept),
        torch.where(missing, std, nothing),
        torch.where(missing, stderr, nothing),
        torch.where(missing, draws, kept),
        ess,
    )


class _Sums:
    """Sums of weighted draws, read in pieces, relative to the largest weight so far."""

    def __init__(self, name: str, num_draws: int) -> None:
        self.name = name
        self.num_draws = num_draws
        self.states: dict[str, Tensor] = {}
        self.peak: Tensor | None = None
        self.totals: list[Tensor] = []

    def add(self, particles: Particles, x: Tensor) -> None:
        """Read some more, of data ``[data, *event]``."""
        site = observed_site(particles, self.name)
        log_weight = particles.log_weight
        log_weight = log_weight.expand(-1, particles.restarts, len(x)).double()
        single = units_given(_completed(site["fn"], site["value"]), site["value"])
        shape = (*log_weight.shape, *x.shape[1:])
        mean, variance = (_shaped(value, shape).double() for value in (single.mean, single.variance))
        peak = log_weight.amax(0) if self.peak is None else torch.maximum(self.peak, log_weight.amax(0))
        finite = torch.where(peak == -torch.inf, 0.0, peak)
        weight = torch.exp(log_weight - finite)
        each = weight.reshape(*weight.shape, *[1] * (x.dim() - 1))
        # the squares make the error of the mean once that is known
        new = [weight, weight**2, each * mean, each * (variance + mean**2), each**2 * mean, each**2 * mean**2]
        totals = [part.sum(0) for part in new]
        share = torch.ones_like(peak)
        if self.peak is not None:
            shrink = torch.exp(self.peak - finite)
            powers = (1, 2, 1, 1, 2, 2)
            totals = [
                total + _like(shrink**power, old) * old
                for total, old, power in zip(totals, self.totals, powers, strict=True)
            ]
            share = (weight.sum(0) / totals[0]).nan_to_num()
        self._choose(particles, weight, share)
        self.peak, self.totals = peak, totals

    def _choose(self, particles: Particles, weight: Tensor, share: Tensor) -> None:
        """For each draw one of these particles, with the probability of their share of the weight so far."""
        weights = weight.movedim(0, -1).clamp(min=torch.finfo(weight.dtype).tiny)
        chosen = torch.multinomial(weights.flatten(0, -2), self.num_draws, replacement=True)
        chosen = chosen.T.reshape(self.num_draws, *weight.shape[1:])
        taken = torch.rand(chosen.shape, device=weight.device, dtype=share.dtype) < share
        for name, site in particles.guide_sites.items():
            value = _shaped(site["value"], (*weight.shape, *site["fn"].event_shape))
            new = value.gather(0, _like(chosen, value).expand(-1, -1, -1, *value.shape[3:]))
            old = self.states.get(name, new)
            self.states[name] = torch.where(_like(taken, new), new, old)

    def moments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean, standard deviation and standard error ``[restarts, data, *event]``, and effective number of samples."""
        total, squares, first, second, of_squares, second_of_squares = self.totals
        ess = total**2 / squares
        mean = first / _like(total, first)
        variance = second / _like(total, first) - mean**2
        error = (second_of_squares - 2 * mean * of_squares + mean**2 * _like(squares, mean)) / _like(total, mean) ** 2
        return mean, variance.clamp(min=0).sqrt(), error.clamp(min=0).sqrt(), ess


def _like(value: Tensor, other: Tensor) -> Tensor:
    """A value with as many dimensions as another has, ones behind."""
    return value.reshape(*value.shape, *[1] * (other.dim() - value.dim()))


def _shaped(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A value ``[..., data, *event]`` of a program as ``[samples, restarts, data, *event]``."""
    return value.reshape(*[1] * (len(shape) - value.dim()), *value.shape).expand(shape)


def _completed(fn: Any, value: Tensor) -> Any:
    """A site's distribution; of groups of which one unit is on, given the units of the value that are observed."""
    single = elementwise(fn)
    return single.given(value) if isinstance(single, OneHotGroups) else fn


def observed_site(particles: Particles, name: str = "x") -> dict[str, Any]:
    """The site that has observed the data: the one of their name, or the only one."""
    observed = {site: found for site, found in particles.model_sites.items() if found["is_observed"]}
    if name not in observed and len(observed) != 1:
        raise ValueError(f"nothing is called {name!r}; the model observes {', '.join(map(repr, observed))}")
    return dict(observed[name] if name in observed else next(iter(observed.values())))
