"""Log-likelihoods by importance sampling from the guide.

    log p(x) ~ log mean_k w_k,   w_k = p(x, h_k) / q(h_k | x),   h_k ~ q(h | x)

A lower bound on average, close where the guide covers the posterior. How close is asked in several ways of the same
weights, which are read once and not kept:

- With ``ESS = (sum w)^2 / sum w^2`` the delta method gives the standard error ``sqrt((K / ESS - 1) / (K - 1))``.
- The bootstrap, with Poisson counts for resamples so that it can be streamed, gives another.
- Pareto k-hat says how heavy the tail of the weights is (:mod:`pyro_helm.likelihoods.pareto`).
- The bound at K/2 and K/4 samples shows whether it is still growing.
- The jackknife over groups of samples takes off the bias of order 1/K. It is no lower bound any more.

References:
    Burda, Grosse & Salakhutdinov 2016, `Importance weighted autoencoders <https://arxiv.org/abs/1509.00519>`__: the
    bound. Nowozin 2018, `Debiasing evidence approximations <https://openreview.net/forum?id=HyZoi-WRb>`__: the
    jackknife. Busing, Meijer & Van der Leeden 1999, `Delete-m jackknife for unequal m
    <https://doi.org/10.1023/A:1008800423698>`__: its groups of unequal size.

"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import pyro
import torch
from pyro.distributions import Delta
from torch import Tensor

from pyro_helm.likelihoods.at_most_one import check_at_most_one, has_probability
from pyro_helm.likelihoods.pareto import pareto_khat, tail_length
from pyro_helm.programs.discrete import elementwise
from pyro_helm.programs.observations import observing
from pyro_helm.programs.particles import Particles, Program, draw_from_guide
from pyro_helm.programs.rows import Rows, check_number, in_pieces, may_be_divided, restarts_of
from pyro_helm.programs.supports import described, is_discrete
from pyro_helm.runtime.device import draws_held

GROUPS = 32
"""Groups of samples that the jackknife leaves out in turn, in quarters."""

RESAMPLES = 100
"""Of the bootstrap, whose standard error is then itself known to 7 %."""


class Bounds(NamedTuple):
    """Per datum and restart, ``[restarts, data]``, in nats; ``stderr`` is the delta method's, NaN of one sample."""

    log_likelihood: Tensor
    stderr: Tensor
    elbo: Tensor


class ImportanceEstimate(NamedTuple):
    """Per datum and restart, ``[restarts, data]``; in nats, but for ``ess``, a number of samples, and ``khat``.

    ``stderr`` is the delta method's. Statistics that need more samples than were drawn are NaN.
    """

    log_likelihood: Tensor
    stderr: Tensor
    ess: Tensor
    khat: Tensor
    stderr_bootstrap: Tensor
    bound_half: Tensor
    bound_quarter: Tensor
    jackknife: Tensor
    elbo: Tensor


def importance_sampling(
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    num_samples: int,
    draws_at_once: int | None = None,
    rows: Rows | None = None,
) -> ImportanceEstimate:
    """Importance-sampling estimate of ``log p(x)`` and, from the same draws, of the evidence lower bound.

    Args:
        model: called with ``observations={"x": x}``.
        guide: called likewise; any Pyro guide, or a proposal of :mod:`pyro_helm.likelihoods.proposals`.
        x: data ``[data, units]``, or ``[restarts, data, units]`` if each restart has its own.
        num_samples: draws per datum and restart.
        draws_at_once: draws (samples x restarts x data) held in memory, however many there are in all; None for what
            suits the device of the data.
        rows: as for :func:`~pyro_helm.likelihoods.scores.log_likelihood`; where they are together, it is the samples
            that are divided.

    Raises:
        ValueError: for programs that do not pair, or weights whose mean can't be a probability of discrete data.

    """
    estimates = [
        weights.estimate()
        for weights in _read(RunningWeights(num_samples), model, guide, x, draws_at_once=draws_at_once, rows=rows)
    ]
    return ImportanceEstimate(*(torch.cat(parts, dim=-1) for parts in zip(*estimates, strict=True)))


def importance_bounds(model: Program, guide: Program, x: Tensor, *, num_samples: int) -> Bounds:
    """The same log-likelihood and bound as :func:`importance_sampling`, without what else it tells, in less time.

    Args:
        model: as for :func:`importance_sampling`.
        guide: likewise.
        x: likewise.
        num_samples: likewise.

    """
    bounds = [weights.bounds() for weights in _read(RunningBounds(num_samples), model, guide, x)]
    return Bounds(*(torch.cat(parts, dim=-1) for parts in zip(*bounds, strict=True)))


def _read(
    empty: Running,
    model: Program,
    guide: Program,
    x: Tensor,
    *,
    draws_at_once: int | None = None,
    rows: Rows | None = None,
) -> Iterator[Running]:
    """For one piece of the data after another, what is kept of its weights."""
    num_samples = empty.num_samples
    restarts, divided = restarts_of(model), may_be_divided(rows, model, guide)
    draws_at_once = draws_held(x.device) if draws_at_once is None else draws_at_once
    # of some hundred rows, whose running sums then take as many weights in one go
    samples_at_once = min(num_samples, max(1, draws_at_once // max(restarts, 200)))
    pieces = in_pieces(x, max(1, draws_at_once // (restarts * samples_at_once)), divided=divided)
    # unvalidated: parameters of one restart that are out of range must not cost the others their estimate
    with torch.no_grad(), pyro.validation_enabled(False):
        for some in pieces:
            weights = type(empty)(num_samples)
            drawn_at_once = max(1, draws_at_once // (restarts * some.shape[-2]))
            for number in _parts(num_samples, samples_at_once):
                draws = [_draw(model, guide, part, some) for part in _parts(number, drawn_at_once)]
                log_weight = torch.cat([particles.log_weight for particles in draws])
                weights.add(check_number(log_weight, some.shape[-2], divided=divided))
            if has_probability(draws[-1].model_sites.values()):
                found = weights.bounds()
                check_at_most_one(found.log_likelihood, found.stderr, num_samples)
            yield weights


def _draw(model: Program, guide: Program, number: int, x: Tensor) -> Particles:
    particles = draw_from_guide(model, guide, number, kwargs=observing(x))
    check_densities(particles)
    return particles


def check_densities(particles: Particles) -> None:
    """Refuse a guide with a point where the model has a density, whose ratio to it is no weight."""
    if particles.guide_sites.keys() - particles.model_sites.keys():
        return  # the density may stand at an auxiliary site
    for name, site in particles.guide_sites.items():
        point, ours = elementwise(site["fn"]), elementwise(particles.model_sites[name]["fn"])
        is_point = isinstance(point, Delta) and not bool(torch.as_tensor(point.log_density).any())
        if is_point and not isinstance(ours, Delta) and is_discrete(ours) is False:
            raise ValueError(
                f"site {name!r} is a single point in the guide, but a {described(ours)} in the model, so importance "
                "weights are undefined; use a guide that draws from a density"
            )


def _parts(number: int, at_once: int) -> list[int]:
    """A number in parts that are not larger than so many."""
    return [min(at_once, number - done) for done in range(0, number, at_once)]


class RunningBounds:
    """Log weights ``[samples, restarts, data]``, read in pieces; what is kept does not grow with their number."""

    peak: Tensor
    group_sums: Tensor
    squares: Tensor
    total: Tensor

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.num_groups = min(GROUPS, num_samples)
        self.done = 0

    def add(self, log_weight: Tensor) -> None:
        """Read some more log-weights, ``[particles, restarts, data]``, in nats."""
        log_weight = log_weight.double()
        number, *shape = log_weight.shape
        if self.done == 0:
            self._begin(log_weight, shape)
        peak = torch.maximum(self.peak, log_weight.amax(0))
        # sums are kept relative to the largest weight so far; before there is one above zero, to anything
        finite = torch.where(peak == -torch.inf, 0.0, peak)
        shrink = torch.exp(self.peak - finite)
        weight = torch.exp(log_weight - finite)
        order = torch.arange(self.done, self.done + number, device=weight.device)
        group = order * self.num_groups // self.num_samples
        self.group_sums = (self.group_sums * shrink).index_add(0, group, weight)
        self.squares = self.squares * shrink**2 + (weight**2).sum(0)
        self.total = self.total + log_weight.sum(0)
        self._keep(log_weight, weight, shrink)
        self.peak, self.done = peak, self.done + number

    def _begin(self, log_weight: Tensor, shape: list[int]) -> None:
        self.peak = log_weight.new_full(shape, -torch.inf)
        self.group_sums = log_weight.new_zeros(self.num_groups, *shape)
        self.squares, self.total = log_weight.new_zeros(shape), log_weight.new_zeros(shape)

    def _keep(self, log_weight: Tensor, weight: Tensor, shrink: Tensor) -> None:
        """What a subclass keeps besides, of some more weights relative to the peak."""

    def bounds(self) -> Bounds:
        """The log-likelihood, its error and the evidence lower bound, in double precision."""
        log_mean = (self.group_sums.sum(0) / self.num_samples).log() + self.peak
        return Bounds(log_mean, self._variance().sqrt(), self.total / self.num_samples)

    def _ess(self) -> Tensor:
        return self.group_sums.sum(0) ** 2 / self.squares

    def _variance(self) -> Tensor:
        """Of the log-likelihood; one sample shows nothing of its own error."""
        ess, count = self._ess(), self.num_samples
        return (count / ess - 1).clamp(min=0) / (count - 1) if count > 1 else torch.full_like(ess, math.nan)


Running = TypeVar("Running", bound=RunningBounds)


class RunningWeights(RunningBounds):
    """Likewise, with all that tells how far to trust the estimate."""

    def __init__(self, num_samples: int) -> None:
        super().__init__(num_samples)
        # of its own, so that the draws do not depend on what is asked of their weights
        self.generator = torch.Generator().manual_seed(0)
        self.counts = torch.zeros(RESAMPLES, dtype=torch.float64)

    def _begin(self, log_weight: Tensor, shape: list[int]) -> None:
        super()._begin(log_weight, shape)
        self.resampled = log_weight.new_zeros(RESAMPLES, *shape)
        self.largest = log_weight[:0]

    def _keep(self, log_weight: Tensor, weight: Tensor, shrink: Tensor) -> None:
        counts = torch.poisson(torch.ones(RESAMPLES, len(weight), dtype=torch.float64), self.generator)
        self.resampled = self.resampled * shrink + torch.tensordot(counts.to(weight.device), weight, dims=1)
        self.counts += counts.sum(-1)
        kept = torch.cat([self.largest, log_weight])
        self.largest = kept.topk(min(len(kept), tail_length(self.num_samples) + 1), dim=0).values

    def estimate(self) -> ImportanceEstimate:
        """What the weights tell, in double precision."""
        found, count = self.bounds(), self.num_samples
        # as many as are sorted into each by the division above
        ends = -(-torch.arange(self.num_groups + 1) * count // self.num_groups)
        sizes = ends.diff().to(found.elbo)[:, None, None]
        return ImportanceEstimate(
            log_likelihood=found.log_likelihood,
            stderr=found.stderr,
            ess=self._ess(),
            khat=pareto_khat(self.largest),
            stderr_bootstrap=self._bootstrap(),
            bound_half=self._bound_of_parts(sizes, 2),
            bound_quarter=self._bound_of_parts(sizes, 4),
            jackknife=self._jackknife(sizes) + self.peak,
            elbo=found.elbo,
        )

    def _bootstrap(self) -> Tensor:
        if self.num_samples == 1:
            return torch.full_like(self.peak, math.nan)
        log_means = (self.resampled / self.counts.to(self.peak)[:, None, None]).log()
        # resamples without any weight are those of an estimate that rests on a draw or two: there is no error to tell
        return torch.where(log_means.isfinite().all(0), log_means.std(0), math.nan)

    def _bound_of_parts(self, sizes: Tensor, parts: int) -> Tensor:
        """The mean over parts of the samples of the bound that each would give."""
        if self.num_samples < parts:
            return torch.full_like(self.peak, math.nan)
        part = torch.arange(self.num_groups, device=sizes.device) * parts // self.num_groups
        sums = self.group_sums.new_zeros(parts, *self.peak.shape).index_add(0, part, self.group_sums)
        counts = sizes.new_zeros(parts, 1, 1).index_add(0, part, sizes)
        return (sums / counts).log().mean(0) + self.peak

    def _jackknife(self, sizes: Tensor) -> Tensor:
        if self.num_samples == 1:
            return torch.full_like(self.peak, math.nan)
        total = self.group_sums.sum(0)
        without = ((total - self.group_sums).clamp(min=0) / (self.num_samples - sizes)).log()
        share = 1 - sizes / self.num_samples
        log_mean = self.num_groups * (total / self.num_samples).log() - (share * without).sum(0)
        return torch.where(log_mean.isfinite(), log_mean, math.nan)
