"""Gibbs: the posterior by persistent chains, with no help from a guide.

    h ~ p(h | x) by Gibbs moves from where the chain of this datum stood        (one or more sweeps over all units)
    d/dtheta  mean_k log p(x, h_k)
    d/dphi    mean_k log q(h_k | x)                 (lowers KL(posterior || q); left out without a guide)

A chain goes on where it was when its datum comes again, known by all that reaches the program of it; since model and
posterior change slowly, a sweep at a time keeps it close to equilibrium. New data start from the guide, or from the
prior without one. The value, ``mean_k log p(x, h_k)``, is a lower bound on ``log p(x)`` since states are discrete, with
the entropy of the posterior as its gap.

Neal, Connectionist learning of belief networks, Artificial Intelligence 56, 1992.
"""

from __future__ import annotations

import pyro
import torch

from pyro_helm.latents.gibbs_moves import sweep
from pyro_helm.programs.pair import Programs
from pyro_helm.runtime.arguments import at_least_one
from pyro_helm.schemes.base import Estimate
from pyro_helm.schemes.states_of_data import KeepsStates, latent_states


class Gibbs(KeepsStates):
    """Gradient of ``log p(x)`` for the model from posterior draws; the guide, if there is one, learns them too.

    For Bernoulli and Categorical sites of any program. A chain belongs to a datum, and is kept for as long as the model
    lives. A datum is known by its observed values, by what else is named in the call (tensors, arrays or lists with the
    data in front, in arguments or in mappings), by the masks of its sites, by its row of a subsampled plate, and among
    those that are equal in all this by its place among them. What a program knows of a row in other ways, an attribute
    that is set before each call say, must be passed to it as well, or data that differ in it alone share a chain.

    A copy goes on from the same chains. Pickled or loaded, they go to the first model that the scheme is used on.

    Args:
        num_particles: chains per datum and restart.
        num_sweeps: over all units, in every step.
        block_size: units of a site drawn jointly, from all of their states.
        max_data: data whose chains are kept. Of more, those that were used longest ago are dropped with a warning, and
            begin anew when they come again.

    Raises:
        ValueError: for settings out of range; in use, for more data at once than ``max_data``; in training, for
            programs that are made anew at every step.
        TypeError: in use, for latent sites that are neither Bernoulli nor Categorical.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> Gibbs().loss(model, None, observations={"x": x}) > 0
    True
    """

    name = "gibbs"
    needs_guide = False

    def __init__(
        self, num_particles: int = 1, *, num_sweeps: int = 1, block_size: int = 1, max_data: int = 100_000
    ) -> None:
        super().__init__(num_particles, max_data)
        self.num_sweeps = at_least_one("num_sweeps", num_sweeps)
        self.block_size = at_least_one("block_size", block_size)

    def estimate(self, programs: Programs) -> Estimate:
        """``log p(x, h)`` of posterior draws summed over the data, ``[restarts]``, in nats."""
        with torch.no_grad():
            draw = programs.draw_from_prior if programs.guide is None else programs.draw_from_guide
            start = draw(self.num_particles)
        states, remember = self._recall(programs, start, latent_states(start, self.num_particles))
        model, args, kwargs = programs.model, programs.args, programs.kwargs
        with torch.no_grad(), pyro.validation_enabled(False):
            for _ in range(self.num_sweeps):
                states = sweep(model, states, start.minibatch, args, kwargs, block_size=self.block_size)
        remember(states)
        particles = programs.score({**start.minibatch, **states})
        log_joint = particles.log_joint
        surrogate = log_joint if programs.guide is None else log_joint + particles.log_guide
        value = particles.sum_over_data(log_joint.mean(0))
        return Estimate(value, particles.sum_over_data(surrogate.mean(0)))
