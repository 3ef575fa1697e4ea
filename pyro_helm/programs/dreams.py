"""What a sleep phase shows to a guide: dreams in the shape of data, with what else is known of each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pyro.distributions import Unit
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_helm.programs.contract import Site
from pyro_helm.programs.discrete import elementwise
from pyro_helm.runtime.captured_graphs import is_capturing


class Shown(dict[str, Any]):
    """Observations that note which of them a program has read.

    >>> shown = Shown({"x": 1, "label": 2})
    >>> shown["x"], sorted(shown.read)
    (1, ['x'])
    """

    def __init__(self, observations: Mapping[str, Any]) -> None:
        super().__init__(observations)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value under a name, or the default without one."""
        self.read.add(name)
        return super().get(name, default)

    # whoever goes through them, to copy or unpack them say, may read them all

    def __iter__(self) -> Iterator[str]:
        self.read |= set(self.keys())
        return super().__iter__()

    def items(self) -> Any:
        """All of them."""
        self.read |= set(self.keys())
        return super().items()

    def values(self) -> Any:
        """All of their values."""
        self.read |= set(self.keys())
        return super().values()


def check_no_factors(model_sites: Mapping[str, Site]) -> None:
    """Refuse a model with a ``pyro.factor``, which has no part in what is drawn from it."""
    for name, site in model_sites.items():
        if isinstance(elementwise(site["fn"]), Unit):
            raise ValueError(
                f"the model has a pyro.factor, {name!r}, which has no part in the dreams that a sleep phase draws from "
                "it; write it as a distribution, or use a scheme without a sleep phase"
            )


def check_dreams_were_read(shown: Shown, dreamt: Mapping[str, Site]) -> None:
    """Refuse a guide that has read other observations and no dream: it may have recognised the data instead."""
    if shown.read and not shown.read & dreamt.keys():
        raise ValueError(
            f"the sleep phase shows the guide dreams of the model's observed sites ({', '.join(dreamt)}), but it read "
            f"{', '.join(sorted(shown.read))} alone; name what it is shown after the sites, or use a scheme without a "
            "sleep phase"
        )


def others(given: Mapping[str, Any], dreamt: Mapping[str, Site], rows: Mapping[str, Tensor]) -> dict[str, Any]:
    """The caller's observations of which there is no dream.

    What a site has observed under another name than its own is left out: the guide would take the datum for the dream.

    Args:
        given: the caller's observations.
        dreamt: sites of the model that were observed.
        rows: of each subsampled plate, by its name.

    """
    renamed = [site["infer"].get("obs") for name, site in dreamt.items() if name not in given]
    return {
        name: value
        for name, value in given.items()
        if name not in dreamt and not any(_is_of(seen, value, rows) for seen in renamed)
    }


def _is_of(seen: Any, value: Any, rows: Mapping[str, Tensor]) -> bool:
    """Whether what a site has observed is an observation of the caller's, or the rows of one."""
    if not isinstance(seen, Tensor) or not isinstance(value, Tensor) or not seen.numel():
        return False
    if seen.untyped_storage().data_ptr() == value.untyped_storage().data_ptr():
        return True
    taken = [value, *(value[index] for index in rows.values() if value.dim() and len(value) > int(index.max()))]
    return not is_capturing() and any(one.shape == seen.shape and torch.equal(one.to(seen), seen) for one in taken)


def of_particle(site: Site, number: int) -> Tensor:
    """One particle's value of a site, in the shape of a program that is run without particles."""
    value: Tensor = site["value"]
    event_dim = 0 if site_is_subsample(site) else site["fn"].event_dim
    if value.dim() - event_dim < 3:
        return value
    value = value[number if len(value) > 1 else 0]
    depth = max((-frame.dim for frame in site["cond_indep_stack"]), default=0)
    while value.dim() - event_dim > depth and len(value) == 1:
        value = value[0]
    return value


def in_its_place(dream: Tensor, site: Site, given: Any, rows: Mapping[str, Tensor]) -> Tensor:
    """Dreams of a minibatch at its rows of the data that a site was given, or as they are if that is all data.

    Args:
        dream: ``[restarts, data, *event]``, without restarts where there are none.
        site: which was dreamt.
        given: the caller's observations of its name.
        rows: of each subsampled plate, by its name.

    """
    for frame in site["cond_indep_stack"]:
        dim = -1 - site["fn"].event_dim
        if frame.dim != -1 or frame.name not in rows or not isinstance(given, Tensor) or given.dim() < -dim:
            continue
        if given.shape[dim] == frame.full_size != frame.size:
            place = rows[frame.name].to(dream.device)
            whole = given.to(dream).expand(*dream.shape[:dim], *given.shape[dim:])
            return whole.index_copy(dim, place, dream)
    return dream
