"""Runs of a Pyro program, recorded site by site, for all particles at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_helm.programs.contract import Site, versions
from pyro_helm.programs.unclamped import drawable

Draw = Callable[[Site, int], Tensor]
"""From a site and the number of particles to draws, ``[particles, restarts, data, *event]``."""


def recorded(
    program: Callable[..., Any], recorder: Recorder, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Site]:
    """The sites of one run of a program, by name."""
    with recorder:
        program(*args, **kwargs)
    return recorder.sites


class Recorder(Messenger):  # type: ignore[misc]
    """Records sample sites, drawing latent ones once per particle or taking their values as given.

    Standing outermost, it does in one step what a plate of particles, a replay and a trace would do in three, and
    without writing a distribution's parameters out for every particle.
    """

    def __init__(
        self,
        num_particles: int,
        values: Mapping[str, Tensor],
        *,
        detach: bool = False,
        draw: Draw | None = None,
    ) -> None:
        super().__init__()
        self.num_particles = num_particles
        self.values = values
        self.detach = detach
        self.draw = draw
        self.sites: dict[str, Site] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["done"] or msg["is_observed"]:
            return
        if msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]
        elif site_is_subsample(msg):
            return
        elif self.draw is not None:
            msg["value"] = self.draw(msg, self.num_particles)
        elif self.num_particles == 1:
            # one that needs no change before it is drawn from is left to Pyro
            fn = drawable(msg["fn"])
            if fn is msg["fn"]:
                return
            msg["value"] = fn()
        else:
            msg["value"] = draw_each(msg["fn"], self.num_particles)
        msg["done"] = True

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if msg["infer"].get("_deterministic") or msg["infer"].get("_do_not_trace"):
            return
        name = msg["name"]
        if name in self.sites and not site_is_subsample(msg):
            raise ValueError(f"two sample sites are named {name!r}; every site needs a name of its own")
        if self.detach and isinstance(msg["value"], Tensor):
            msg["value"] = msg["value"].detach()
        self.sites[name] = msg | {"versions": versions(msg)}


def draw_each(fn: Any, num_particles: int) -> Tensor:
    """One draw per particle, ``[particles, restarts, data, *event]``."""
    fn = drawable(fn)
    batch = fn.batch_shape
    if len(batch) < 3:
        value: Tensor = fn((num_particles,) + (1,) * (2 - len(batch)))
    else:
        value = fn.expand((num_particles, *batch[1:]))() if batch[0] == 1 else fn()
    return value


def without_subsamples(sites: Mapping[str, Site]) -> dict[str, Site]:
    """Sites of distributions alone, without the draws of a plate's rows."""
    return {name: site for name, site in sites.items() if not site_is_subsample(site)}


def minibatch_of(sites: Mapping[str, Site]) -> dict[str, Tensor]:
    """Rows of each subsampled plate, ``[rows]``, by its name."""
    return {name: site["value"] for name, site in sites.items() if site_is_subsample(site)}
