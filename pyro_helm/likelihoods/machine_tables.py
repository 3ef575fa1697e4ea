"""What people want of a trained machine, as DataFrames with the names of units: codes, draws, predictions, weights.

    codes             E[h | x],  by the guide or by its weighted draws
    reconstructions   E[x | h] averaged over the guide's draws of h
    posterior draws   h ~ p(h | x),  drawn again from the guide's draws by their weights (Rubin 1988)
    predictive        x' ~ p(x | h),  h ~ p(h | x)

``.to_numpy()`` gives the array. Rows are ``datum``, with ``draw`` and, where there are several, ``restart`` before it;
a DataFrame's own index and columns are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor

from pyro_helm.data.named_observations import DataLike, observed_data, unit_names
from pyro_helm.likelihoods.imputation import observed_site
from pyro_helm.models import BeliefNetwork, TemporalBeliefNetwork
from pyro_helm.programs.discrete import elementwise, unit_means, unit_values
from pyro_helm.programs.layered import check_sizes_agree, site_names
from pyro_helm.programs.module_state import evaluating
from pyro_helm.programs.observations import check_data, observing
from pyro_helm.programs.packed import as_rows
from pyro_helm.programs.param_store import stores_apart
from pyro_helm.programs.particles import Particles, Program, draw_from_guide, score
from pyro_helm.programs.rows import in_pieces, may_be_divided
from pyro_helm.runtime.arguments import at_least_one, checked_seed
from pyro_helm.runtime.seeding import forked_rng

_ROWS_AT_ONCE = 500

Blocks = dict[str, Tensor]
"""By name, ``[draws, restarts, data, units]``."""


def dreams(
    model: BeliefNetwork | TemporalBeliefNetwork,
    number: int = 100,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Draws of the visible layer from the model.

    Args:
        model: belief network, of rows or of sequences.
        number: dreams per restart.
        names: of the visible units.
        seed: of the draws.

    Raises:
        TypeError: for a user-defined model; ``pyro.poutine.uncondition(model)`` makes one dream.

    >>> dreams(BeliefNetwork((3, 2), seed=0), 5, names=["a", "b", "c"]).shape
    (5, 3)
    """
    number = at_least_one("number", number)
    if not isinstance(model, (BeliefNetwork, TemporalBeliefNetwork)):
        raise TypeError(
            f"dreams takes a BeliefNetwork or a TemporalBeliefNetwork, got a {type(model).__name__}; of any other "
            "model pyro.poutine.uncondition(model) draws what it observes"
        )
    with evaluating(model), forked_rng(checked_seed(seed), torch.device("cpu")), torch.no_grad():
        x = model(num_data=number)
    return _frame({"x": _blocks(x, (1, model.restarts, number))}, None, names)


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

    One column per unit, ``h1.0, h1.1, ...``; of a Categorical site one per value, with its probability.

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
            value = unit_means(site["fn"]) if weight is None else unit_values(site["fn"], site["value"])
            value = _blocks(value, (num_samples, particles.restarts, len(rows)))
            share = 1 / num_samples if weight is None else weight[..., None]
            found[name] = (share * value).sum(0, keepdim=True)
        return found

    return _frame(_of_draws(model, guide, data, num_samples, seed, means), data, None)


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
        value = elementwise(observed_site(particles)["fn"]).mean
        return {"x": _blocks(value, (num_samples, particles.restarts, len(rows))).mean(0, keepdim=True)}

    return _frame(_of_draws(model, guide, data, num_samples, seed, means), data, unit_names(data))


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
    return _frame(
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
        return {"x": _blocks(site["fn"].sample(), (num_draws, particles.restarts, len(rows)))}

    return _frame(_of_draws(model, guide, data, num_samples, seed, drawn, shown), data, unit_names(data))


def weight_table(model: BeliefNetwork, *, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Every weight and leak of a model, one row each.

    Columns ``restart, layer, imaging, cause, unit, weight``, in the units of the drive.

    Args:
        model: belief network.
        names: of the visible units.

    Raises:
        TypeError: for a user-defined model.

    >>> weight_table(BeliefNetwork((3, 2), seed=0), names=["a", "b", "c"]).query("cause == 'h1.1'").unit.tolist()
    ['a', 'b', 'c']
    """
    if not isinstance(model, BeliefNetwork):
        raise TypeError(f"weight_table takes a BeliefNetwork, got a {type(model).__name__}")
    tables = []
    sites = site_names(model.sizes)
    units = {name: _unit_names(name, size) for name, size in zip(sites, model.sizes, strict=True)}
    units["x"] = list(names) if names is not None else units["x"]
    for level, (name, layer) in enumerate(zip(sites, model.generative, strict=True)):
        with torch.no_grad():
            parts = {"leak": layer.leak}
            if level + 1 < len(sites):
                parts["weight"] = layer.weight
        for part, value in parts.items():
            causes = ["leak"] if part == "leak" else units[sites[level + 1]]
            index = pd.MultiIndex.from_product(
                [range(model.restarts), [name], [model.imaging[level]], causes, units[name]],
                names=["restart", "layer", "imaging", "cause", "unit"],
            )
            tables.append(pd.DataFrame({"weight": value.detach().cpu().numpy().ravel()}, index=index))
    return pd.concat(tables).reset_index()


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
    chosen = chosen.T.reshape(num_draws, *shape[1:], 1)
    values = {name: _blocks(site["value"], shape) for name, site in particles.guide_sites.items()}
    return {name: value.gather(0, chosen.expand(-1, -1, -1, value.shape[-1])) for name, value in values.items()}


def _blocks(value: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """A site's values as ``[draws, restarts, data, units]``; a site without an event has one unit."""
    batch = min(3, value.dim())
    for dims in range(batch, 0, -1):
        leading = torch.Size(shape[3 - dims :])
        if all(found in (1, wanted) for found, wanted in zip(value.shape[:dims], leading, strict=True)) and (
            value.shape[dims - 1] == shape[2]
        ):
            flat = value.reshape(*(1,) * (3 - dims), *value.shape[:dims], -1)
            return flat.expand(*shape, -1)
    raise ValueError(f"values of shape {list(value.shape)} are not of {shape[2]} data")


def _unit_names(site: str, number: int) -> list[str]:
    return [f"{site}.{unit}" for unit in range(number)]


def _frame(blocks: Mapping[str, Tensor], data: Any, names: Sequence[str] | None) -> pd.DataFrame:
    """One table of all blocks, side by side."""
    first = next(iter(blocks.values()))
    columns: list[str] = []
    for name, block in blocks.items():
        width = block.shape[-1]
        if names is not None and len(names) != width:
            raise ValueError(f"names must be {width}, one for each visible unit, got {len(names)}")
        columns += list(names) if names is not None else _unit_names(name, width)
    rows = data.index if isinstance(data, pd.DataFrame) else pd.RangeIndex(first.shape[2])
    levels: dict[str, Any] = {"draw": range(len(first)), "restart": range(first.shape[1]), "datum": rows}
    levels = {name: level for name, level in levels.items() if name == "datum" or len(level) > 1}
    index: pd.Index = pd.Index(rows, name="datum")
    if len(levels) > 1:
        index = pd.MultiIndex.from_product(list(levels.values()), names=list(levels))
    values = np.concatenate([block.cpu().numpy().reshape(-1, block.shape[-1]) for block in blocks.values()], axis=-1)
    return pd.DataFrame(values, index=index, columns=columns)
