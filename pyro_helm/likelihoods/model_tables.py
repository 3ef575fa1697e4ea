"""What a model holds by itself, without data: its dreams, and its weights as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyro_helm.layers import Imaging
from pyro_helm.likelihoods.unit_frames import blocks, framed, numbered_units
from pyro_helm.models import BeliefNetwork, LabelledBeliefNetwork, TemporalBeliefNetwork
from pyro_helm.programs.classes import SITE
from pyro_helm.programs.layered import site_names
from pyro_helm.programs.module_state import evaluating
from pyro_helm.runtime.arguments import at_least_one, checked_seed
from pyro_helm.runtime.device import placement
from pyro_helm.runtime.seeding import forked_rng


def dreams(
    model: BeliefNetwork | TemporalBeliefNetwork,
    number: int | None = None,
    *,
    label: Any = None,
    num_steps: int | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Draws of the visible layer from the model.

    Args:
        model: belief network, of rows or of sequences.
        number: dreams per restart; None for one for each label, or 100.
        label: what to dream of, for a network with labels: one whole number from 0 for all dreams, or one for each
            (NaN for any, where the label is a part of the model). A network that is conditioned on labels needs it.
        num_steps: of each sequence, for a network of sequences; None for one.
        names: of the visible units.
        seed: of the draws.

    Raises:
        TypeError: for a user-defined model; ``pyro.poutine.uncondition(model)`` makes one dream.
        ValueError: for labels or steps that the model does not have, or labels that it needs.

    >>> dreams(BeliefNetwork((3, 2), seed=0), 5, names=["a", "b", "c"]).shape
    (5, 3)
    >>> dreams(BeliefNetwork((3, 2), condition=4, seed=0), label=[0, 3]).shape
    (2, 3)
    """
    if not isinstance(model, (BeliefNetwork, TemporalBeliefNetwork)):
        raise TypeError(
            f"dreams takes a BeliefNetwork or a TemporalBeliefNetwork, got a {type(model).__name__}; of any other "
            "model pyro.poutine.uncondition(model) draws what it observes"
        )
    labels = _labels(model, label, None if number is None else at_least_one("number", number))
    number = len(labels) if labels is not None else 100 if number is None else number
    given: dict[str, Any] = {"num_data": number}
    if labels is not None:
        given["observations"] = {"label": labels}
    if num_steps is not None:
        if not isinstance(model, TemporalBeliefNetwork):
            raise ValueError(f"num_steps is for networks of sequences, but the model is a {type(model).__name__}")
        given["num_steps"] = at_least_one("num_steps", num_steps)
    device = placement(model)["device"]
    with evaluating(model), forked_rng(checked_seed(seed), device), torch.no_grad():
        x = model(**given)
    return framed({"x": blocks(x, (1, model.restarts, number))}, None, names)


def _labels(model: Any, label: Any, number: int | None) -> Tensor | None:
    """The label of each dream ``[number]``; None for none."""
    known = getattr(model, "condition", None)
    if label is None:
        if known is None or isinstance(model, LabelledBeliefNetwork):
            return None
        raise ValueError(
            f"the model is conditioned on one of {known} labels; give label=, a number from 0 to {known - 1} for all "
            "dreams or one for each"
        )
    if known is None:
        raise ValueError(f"the model has no labels, got label={label!r:.60}")
    values = torch.as_tensor(np.asarray(label, dtype=float), **placement(model))
    if values.dim() > 1 or (values.dim() == 1 and number is not None and len(values) != number):
        each = "each dream" if number is None else f"each of the {number} dreams"
        raise ValueError(f"label must be one number, or one for {each}, got values of shape {list(values.shape)}")
    return values if values.dim() else values.expand(100 if number is None else number)


def weight_table(model: BeliefNetwork, *, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Every weight and leak of a model, one row each.

    Columns ``restart, layer, imaging, cause, unit, weight``, in the units of the drive. A cause is a unit of a layer
    above, ``label.0, label.1, ...`` or ``class.0, ...`` where labels drive the layers, an earlier unit of the same
    layer where it has lateral connections, or the ``leak``. What else a unit has stands there too, by its name: the
    ``scale`` of a gaussian one.

    Args:
        model: belief network.
        names: of the visible units.

    Raises:
        TypeError: for a user-defined model.
        ValueError: for another number of names than visible units.

    >>> weight_table(BeliefNetwork((3, 2), seed=0), names=["a", "b", "c"]).query("cause == 'h1.1'").unit.tolist()
    ['a', 'b', 'c']
    """
    if not isinstance(model, BeliefNetwork):
        raise TypeError(f"weight_table takes a BeliefNetwork, got a {type(model).__name__}")
    sites = site_names(model.sizes)
    units = {name: numbered_units(name, (size,)) for name, size in zip(sites, model.sizes, strict=True)}
    if names is not None and len(names) != model.sizes[0]:
        raise ValueError(f"names must be {model.sizes[0]}, one for each visible unit, got {len(names)}")
    units["x"] = units["x"] if names is None else list(names)
    is_labelled = isinstance(model, LabelledBeliefNetwork)
    labels = numbered_units(SITE if is_labelled else "label", (model.condition or 0,))
    tables = []
    for name, imaging, layer in zip(sites, model.imaging, model.generative, strict=True):
        causes = [*(unit for parent in model.parents[name] for unit in units[parent]), *labels]
        for whose, value, there in _parts(layer, causes, units[name]):
            table = _rows(value, layer=name, imaging=imaging, causes=whose, units=units[name])
            tables.append(table[there.expand(value.shape).flatten().tolist()])
    if isinstance(model, LabelledBeliefNetwork):
        leak = model.class_prior.leak
        tables.append(_rows(leak, layer=SITE, imaging="categorical", causes=["leak"], units=labels))
    return pd.concat(tables).reset_index()


def _parts(layer: Imaging, causes: list[str], units: list[str]) -> Iterator[tuple[list[str], Tensor, Tensor]]:
    """Names of causes, ``[restarts, causes, units]``, and whether there is such a weight."""
    whole = torch.tensor(True)
    yield ["leak"], layer.leak, whole
    if causes:
        yield causes, layer.weight, whole
    if layer.blocks:
        yield units, layer.lateral, layer.earlier == 1
    for name, value in layer.named_pyro_params(recurse=False):
        if name not in ("weight", "learned_leak", "lateral"):
            yield [name], value, whole


def _rows(value: Tensor, *, layer: str, imaging: str, causes: list[str], units: list[str]) -> pd.DataFrame:
    index = pd.MultiIndex.from_product(
        [range(len(value)), [layer], [imaging], causes, units], names=["restart", "layer", "imaging", "cause", "unit"]
    )
    return pd.DataFrame({"weight": value.detach().cpu().numpy().ravel()}, index=index)
