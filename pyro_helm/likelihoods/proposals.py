"""Proposals for importance sampling, made of a model and its guide; each is a Pyro guide itself.

================== ============================================== =============================================
proposal           density                                        where it helps
================== ============================================== =============================================
`prior`            ``p(h)``                                       weak evidence; a base for the others
`mixed_with_prior` ``(1 - a) q(h | x) + a p(h)``                  guides that miss modes: weights are bounded by
                                                                  ``p(x | h) / a``
`tempered`         ``q`` with its logits divided by T             guides that are too sure of themselves
`mean_field`       ``q`` with means, not draws, handed upwards    nets trained deterministically (3.10)
================== ============================================== =============================================

The mixture is the defensive one of Hesterberg (Technometrics 37, 185-194, 1995); (3.10) is of Dayan, Hinton, Neal &
Zemel 1995.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Bernoulli, Categorical, Delta, Independent
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pyro_helm.guides import FactorialRecognition
from pyro_helm.programs.layered import Observations, layer_plates, site_names
from pyro_helm.programs.particles import Program, draw_from_proposal
from pyro_helm.programs.rows import made_of


def prior(model: Program) -> Program:
    """The model's own prior as a guide: its latent sites, without those that are observed.

    >>> proposal = prior(BeliefNetwork((6, 4), seed=0))
    >>> "x" in pyro.poutine.trace(proposal).get_trace(observations={"x": torch.ones(1, 6)})
    False
    """
    hidden: Program = poutine.block(model, hide_fn=lambda site: site["type"] == "sample" and site["is_observed"])
    return made_of(hidden, model)


def mixed_with_prior(model: Program, guide: Program, *, prior_weight: float = 0.1) -> Program:
    """A mixture of guide and prior: what the guide never proposes, the prior does.

    Args:
        model: Pyro model, called with ``observations``.
        guide: its guide, without auxiliary sites.
        prior_weight: share of the prior, between 0 and 1.

    Raises:
        ValueError: for a share out of range.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> data = torch.ones(2, 6)
    >>> log_likelihood(model, mixed_with_prior(model, guide), data, num_samples=100).summary.log_likelihood.item() < 0
    True
    """
    if not 0 < prior_weight < 1:
        raise ValueError(f"prior_weight must be between 0 and 1, got {prior_weight}")
    shares = torch.tensor([1 - prior_weight, prior_weight])

    def proposal(observations: Observations) -> None:
        kwargs = {"observations": observations}
        with poutine.block():  # for its plates
            sites = draw_from_proposal(prior(model), guide, 1, kwargs).guide_sites
        like = next(iter(sites.values()))
        # tells how many draws are wanted, in whatever way; it is integrated out below, and so counts for nothing
        with _plates(like), poutine.mask(mask=False):
            from_prior = pyro.sample("from_prior", Bernoulli(shares[1]), infer={"is_auxiliary": True}).bool()
        number = len(from_prior) if from_prior.dim() > 2 else 1
        with poutine.block():
            ours = draw_from_proposal(prior(model), guide, number, kwargs)
            theirs = draw_from_proposal(guide, prior(model), number, kwargs)
        log_q = torch.where(from_prior, theirs.log_joint, ours.log_guide)
        log_prior = torch.where(from_prior, theirs.log_guide, ours.log_joint)
        log_density = torch.logaddexp(shares[0].log() + log_q, shares[1].log() + log_prior)
        for name, site in ours.guide_sites.items():
            event_dim = site["fn"].event_dim
            chosen = from_prior.reshape(from_prior.shape + (1,) * event_dim)
            value = torch.where(chosen, theirs.guide_sites[name]["value"], site["value"])
            if number == 1:
                log_density = log_density.reshape(value.shape[: value.dim() - event_dim])
            with _plates(site):
                delta = Delta(value, log_density=log_density, event_dim=event_dim)
                pyro.sample(name, delta)
            # the density of the joint state stands at the first site
            log_density = torch.zeros_like(log_density)

    return made_of(proposal, model, guide)


def _plates(site: Any) -> ExitStack:
    plates = ExitStack()
    for frame in site["cond_indep_stack"]:
        plates.enter_context(pyro.plate(frame.name, frame.size, dim=frame.dim))
    return plates


def tempered(guide: Program, *, temperature: float) -> Program:
    """The guide with the logits of its Bernoulli and Categorical sites divided by a temperature.

    Raises:
        ValueError: for a temperature that is not positive.
        TypeError: when it is run, for a site of another kind.

    >>> guide = FactorialRecognition((6, 4), seed=0)
    >>> hot = tempered(guide, temperature=2.0)
    >>> trace = pyro.poutine.trace(hot).get_trace(observations={"x": torch.ones(1, 6)})
    >>> trace.nodes["h1"]["fn"].base_dist.logits.allclose(guide.recognition[0].drive(torch.ones(1, 6)) / 2)
    True
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")

    def proposal(observations: Observations) -> None:
        with _Tempering(temperature):
            guide(observations=observations)

    return made_of(proposal, guide)


class _Tempering(Messenger):  # type: ignore[misc]
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if not msg["is_observed"] and not site_is_subsample(msg):
            msg["fn"] = _tempered(msg["fn"], self.temperature, msg["name"])


def _tempered(fn: Any, temperature: float, name: str) -> Any:
    if isinstance(fn, Independent):
        return _tempered(fn.base_dist, temperature, name).to_event(fn.reinterpreted_batch_ndims)
    if not isinstance(fn, (Bernoulli, Categorical)):
        raise TypeError(f"site {name!r} is a {type(fn).__name__}; only Bernoulli and Categorical sites can be tempered")
    return type(fn)(logits=fn.logits / temperature)


def mean_field(guide: FactorialRecognition) -> Program:
    """The fully factorial guide that hands means rather than draws from layer to layer (3.10 of the paper).

    >>> proposal = mean_field(FactorialRecognition((6, 4, 2), seed=0))
    >>> trace = pyro.poutine.trace(proposal).get_trace(observations={"x": torch.ones(1, 6)})
    >>> trace.nodes["h2"]["value"].shape
    torch.Size([1, 2])
    """

    def proposal(observations: Observations) -> None:
        layers = guide.mean_field({"x": observations["x"]})
        with layer_plates(guide.restarts, observations["x"].shape[-2]):
            for name, units in zip(site_names(guide.sizes)[1:], layers, strict=True):
                pyro.sample(name, units.to_event(1))

    return made_of(proposal, guide)
