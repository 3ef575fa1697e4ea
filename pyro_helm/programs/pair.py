"""The two programs of an inference problem, with the arguments that both are called with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pyro_helm.programs.dreams import draw_from_model
from pyro_helm.programs.particles import (
    Particles,
    Program,
    draw_from_guide,
    draw_from_prior,
    num_particles_of,
    score,
)
from pyro_helm.programs.recorder import Draw


@dataclass(frozen=True)
class Programs:
    """A model and its guide in one call: what a scheme draws from.

    All that comes back are :class:`~pyro_helm.programs.particles.Particles`, with log-probabilities in nats that
    broadcast to ``[particles, restarts, data]``.

    Args:
        model: Pyro model.
        guide: Pyro guide; None for a scheme that needs none.
        args: positional arguments of both.
        kwargs: keyword arguments of both.

    Raises:
        ValueError: in use, where sites and plates break the shape convention, naming the site and the remedy.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> programs = Programs(model, guide, kwargs={"observations": {"x": torch.ones(10, 6)}})
    >>> programs.draw_from_guide(5).log_weight.shape  # [particles, restarts, data]
    torch.Size([5, 1, 10])

    """

    model: Program
    guide: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def draw_from_guide(
        self,
        num_particles: int,
        *,
        pathwise: bool = False,
        shared: bool = False,
        values: Mapping[str, Tensor] | None = None,
        draw: Draw | None = None,
        relaxed: bool = False,
    ) -> Particles:
        """Draw ``h ~ q(h | x)`` from the guide and score it under both: :func:`~.particles.draw_from_guide`.

        Draws are constants unless ``pathwise``; sites outside the data plate are refused unless ``shared``. Given
        ``values`` are ``[particles, restarts, data, ...]``.
        """
        return draw_from_guide(
            self.model,
            self.guide,
            num_particles,
            self.args,
            self.kwargs,
            pathwise=pathwise,
            shared=shared,
            values=values,
            draw=draw,
            relaxed=relaxed,
        )

    def draw_from_model(self, num_particles: int, *, shared: bool = False) -> Particles:
        """Draw dreams ``(x, h) ~ p(x, h)``, shown to the guide: :func:`~.dreams.draw_from_model`."""
        return draw_from_model(self.model, self.guide, num_particles, self.args, self.kwargs, shared=shared)

    def draw_from_prior(self, num_particles: int) -> Particles:
        """Draw the latent sites from the model, observed ones as they are: :func:`~.particles.draw_from_prior`."""
        return draw_from_prior(self.model, num_particles, self.args, self.kwargs)

    def score(self, values: Mapping[str, Tensor]) -> Particles:
        """Score given values of every latent site under the model, and under the guide if there is one.

        Args:
            values: ``[particles or 1, restarts or 1, data or 1, *event]``, and the minibatch of another run if it is
                to be this one's.

        """
        if self.guide is None:
            return score(self.model, values, self.args, self.kwargs)
        return self.draw_from_guide(num_particles_of(values), values=values)
