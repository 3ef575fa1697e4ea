"""What every inference scheme is: one scalar whose value is a negative bound and whose gradient is the estimator's."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from inspect import signature
from typing import Any, ClassVar, NamedTuple

import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_helm.programs.pair import Programs
from pyro_helm.programs.param_store import check_names_differ
from pyro_helm.programs.particles import Program
from pyro_helm.runtime.arguments import is_whole


class Intractable(ValueError):
    """A model that a scheme could train, but for the number of its states."""


class Estimate(NamedTuple):
    """What a scheme says of its particles, per restart.

    >>> Estimate(bound=torch.tensor([-3.0]), surrogate=torch.tensor([0.0])).bound
    tensor([-3.])

    """

    bound: Tensor
    """The bound summed over the data, ``[restarts]``, in nats."""
    surrogate: Tensor | None = None
    """A tensor ``[restarts]`` whose gradient is the scheme's, uphill; None where the bound's own is."""


class Scheme(ELBO):  # type: ignore[misc]
    """An inference scheme, used as Pyro's own objectives are; one of your own defines :meth:`estimate`.

    ``SVI(model, guide, optim, loss=scheme)`` trains with Pyro's optimisers;
    ``scheme.differentiable_loss(model, guide, *args, **kwargs).backward()`` with torch's.

    Args:
        num_particles: draws per datum and restart.

    Raises:
        ValueError: for fewer particles than the scheme is defined for.

    """

    name: ClassVar[str]
    """Name in tables and on the command line."""
    min_particles: ClassVar[int] = 1
    samples: ClassVar[bool] = True
    """Whether it draws particles; the value of a scheme that does not is the same at every call."""
    needs_guide: ClassVar[bool] = True
    """Whether it draws from a guide; with one that does not, the guide may be None."""
    captures: ClassVar[bool] = True
    """Whether a step is the same tensor operations every time, so that it can be captured once and replayed."""

    def __init__(self, num_particles: int = 1) -> None:
        if not is_whole(num_particles) or num_particles < self.min_particles:
            raise ValueError(
                f"{type(self).__name__} needs num_particles to be an integer of at least {self.min_particles}, "
                f"got {num_particles!r}"
            )
        super().__init__(num_particles=int(num_particles), max_plate_nesting=2, vectorize_particles=True)

    @abstractmethod
    def estimate(self, programs: Programs) -> Estimate:
        """Bound of every restart, and what has the scheme's gradient: each ``[restarts]``, of sums over the data."""

    def restart_losses(self, model: Program, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Negative bound summed over the data, per restart, ``[restarts]``, in nats; its gradient is the scheme's.

        Raises:
            TypeError: for no guide, where the scheme needs one.

        """
        if guide is None and self.needs_guide:
            raise TypeError(f"{type(self).__name__} needs a guide, got None; without one, use ExactEM or Gibbs")
        bound, surrogate = self.estimate(Programs(model, guide, args, kwargs))
        return -(bound if surrogate is None else with_gradient_of(bound, surrogate))

    def differentiable_loss(self, model: Program, guide: Program | None, *args: Any, **kwargs: Any) -> Tensor:
        """Sum of :meth:`restart_losses`, a scalar ``[]`` to call ``backward()`` on."""
        check_names_differ(model, guide)
        return self.restart_losses(model, guide, *args, **kwargs).sum()

    def loss(self, model: Program, guide: Program | None, *args: Any, **kwargs: Any) -> float:
        """Value of the negative bound, in nats."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(self, model: Program, guide: Program | None, *args: Any, **kwargs: Any) -> float:
        """Value of the negative bound, in nats; adds the gradients to the parameters'.

        Raises:
            ValueError: for parameters of one name in model and guide, of which Pyro's SVI would train one alone.

        """
        check_names_differ(model, guide, trained_by_store=True)
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def state_dict(self) -> dict[str, Tensor]:
        """What the scheme has learned of the pair in use, tensors ``[...]`` by name; empty if it remembers nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a :meth:`state_dict`, tensors ``[...]`` by name, with the first pair of programs that comes.

        Raises:
            ValueError: for a state of something else.

        """
        if state:
            raise ValueError(
                f"{type(self).__name__} remembers nothing, but the state holds {', '.join(list(state)[:3])}"
            )

    def forget(self) -> None:
        """Begin anew with every pair of programs, as a study does in each of its runs.

        To be defined by a scheme that keeps something of the pair in use; others have nothing to forget.
        """

    def __repr__(self) -> str:
        """The call that makes such a scheme: its particles, and the settings that differ from their defaults."""
        shown = []
        for name, known in signature(type(self)).parameters.items():
            value = repr(getattr(self, name)) if hasattr(self, name) else "..."
            if name == "num_particles" or value != repr(known.default):
                shown.append(f"{name}={value}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __copy__(self) -> Scheme:
        # what a scheme remembers changes with every step, and the copy's is not to change with it
        return copy.deepcopy(self)

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Any:
        # abstract in Pyro's ELBO, whose own estimators run on traces
        raise NotImplementedError("schemes draw through pyro_helm.programs.particles, not through traces")


def with_gradient_of(value: Tensor, surrogate: Tensor) -> Tensor:
    """A tensor with the value of the first and the gradient of the second, both ``[...]``.

    A surrogate only stands for its gradient. Its own value means nothing, and may be NaN: the weight 0 of an impossible
    particle times its log-probability, say.
    """
    result: Tensor = _WithGradientOf.apply(value.detach(), surrogate)  # type: ignore[no-untyped-call]
    return result


class _WithGradientOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, surrogate: Tensor) -> Tensor:
        ctx.like = surrogate.shape, surrogate.dtype
        value = value.to(torch.promote_types(value.dtype, surrogate.dtype))
        if value.shape != surrogate.shape:
            value = value.expand(torch.broadcast_shapes(value.shape, surrogate.shape))
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        shape, dtype = ctx.like
        return None, gradients[0].sum_to_size(shape).to(dtype)


def normalised_weights(log_weight: Tensor) -> Tensor:
    """Weights of the particles that sum to one, ``[particles, ...]``; all zero where every particle is impossible.

    Such a datum makes the bound minus infinity, and leaves the gradient to the other data.
    """
    # NaN too, which the value of the bound shows
    return log_weight.softmax(0).nan_to_num(0.0)
