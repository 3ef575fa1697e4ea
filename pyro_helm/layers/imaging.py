"""What every imaging model is: a layer of units driven by the causes above it, certain or uncertain."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import ClassVar, NamedTuple

import pyro
import torch
from pyro.distributions import TorchDistribution, constraints
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.nn.functional import linear

from pyro_helm.layers.autoregressive import Autoregressive
from pyro_helm.layers.binary_states import all_states, state_probabilities
from pyro_helm.layers.unobserved import depends_on_all, leaving_out


class LogProbs(NamedTuple):
    """Log-probabilities of a layer's units, in nats, ``[..., data, units]``."""

    on: Tensor
    off: Tensor


class Imaging(PyroModule):  # type: ignore[misc]
    """A layer of units driven by the binary causes above it; calling it gives their distribution.

    ``drive = causes @ weight + leak``, with ``leak`` the sum of a fixed and a learned part. A subclass that says in
    ``distribution`` what the drive means is an imaging model of its own, to be given to a network as ``imaging``.

    Args:
        num_causes: units of the layer above; 0 for a top layer, which has its leak alone.
        num_units: units of this layer.
        restarts: independent machines held in one batch.
        fixed_leak: an always-on cause that is not learned, so that units do not die (Fig. 4 of the paper has 0.05):
            a logit for ``sigmoid``, a probability for ``noisy_or``, odds for ``odds``. None for none.
        learned_leak: whether there is a learned leak too.
        generator: source of the initial values; torch's own if None.

    Attributes:
        weight: ``[restarts, causes, units]``, in the units of the drive.
        learned_leak: ``[restarts, 1, units]``, in the units of the drive, or None.
        fixed_leak: a scalar in the units of the drive, or None.

    Raises:
        ValueError: if units could never turn on for want of a leak, or the fixed leak is out of range.

    """

    constraint: ClassVar[constraints.Constraint] = constraints.real
    """Values that a weight or leak may take; they are stored unconstrained."""

    is_binary: ClassVar[bool] = False
    """Whether each unit is a Bernoulli by itself: what hidden layers are, and sums over states go through."""

    def __init__(
        self,
        num_causes: int,
        num_units: int,
        *,
        restarts: int = 1,
        fixed_leak: float | None = None,
        learned_leak: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.restarts = restarts
        if num_causes:
            noise = torch.randn(restarts, num_causes, num_units, generator=generator)
            self.weight = PyroParam(self.initial_weight(noise), self.constraint)
        self.learned_leak = None
        if learned_leak:
            noise = torch.randn(restarts, 1, num_units, generator=generator)
            self.learned_leak = PyroParam(self.initial_leak(noise), self.constraint)
        elif fixed_leak is None:
            fixed_leak = self.without_leak(num_units)
        fixed_drive = None if fixed_leak is None else torch.tensor(self.drive_of_leak(fixed_leak))
        self.register_buffer("fixed_leak", fixed_drive)
        self.num_units = num_units
        self.blocks: tuple[slice, ...] = ()

    def connect(self, blocks: int, *, generator: torch.Generator | None = None) -> None:
        """Let the units drive each other: those of a block are driven by all of earlier blocks, ``s @ lateral``.

        Args:
            blocks: how many, of sizes as equal as can be; as many as units at most.
            generator: source of the initial values, which are 0 where a weight may be.

        """
        parts = [int(part.sum()) for part in torch.tensor(self.parts).tensor_split(min(blocks, len(self.parts)))]
        ends = list(accumulate(parts))
        self.blocks = tuple(slice(end - size, end) for size, end in zip(parts, ends, strict=True))
        block = torch.repeat_interleave(torch.tensor(parts))
        self.register_buffer("earlier", (block[:, None] < block).to(self.leak.dtype), persistent=False)
        noise = torch.zeros(self.restarts, self.num_units, self.num_units)
        if self.constraint is not constraints.real:
            noise = self.initial_weight(torch.randn(noise.shape, generator=generator))
        self.lateral = PyroParam(noise, self.constraint)

    @property
    def parts(self) -> tuple[int, ...]:
        """Numbers of units that no block divides; here each is by itself."""
        return (1,) * self.num_units

    @property
    def lateral_weight(self) -> Tensor:
        """``[restarts, units, units]``, from earlier blocks to later ones; of a single restart without that one."""
        return of_units(self.lateral * self.earlier)

    @abstractmethod
    def distribution(self, drive: Tensor) -> TorchDistribution:
        """Distribution of units with drive ``[..., units]``, each by itself or with all as the event.

        It is also given what :meth:`unit_parameters` has, by position, or reads it itself.
        """

    def distribution_of(self, drive: Tensor, units: slice, *others: Tensor) -> TorchDistribution:
        """Distribution of some units with drive ``[..., units]``; ``others`` are :meth:`unit_parameters` of all."""
        return self.distribution(drive, *(other[..., units] for other in others))

    def unit_parameters(self) -> tuple[Tensor, ...]:
        """What the units have besides their drive, a scale say, each ``[restarts, 1, units]``; see :meth:`of_units`."""
        return ()

    def initial_weight(self, noise: Tensor) -> Tensor:
        """Initial weights ``[restarts, causes, units]`` from standard normal noise of that shape.

        Of either sign; large enough for restarts to begin differently, small enough for units not to saturate.
        """
        scale: float = min(0.3, 1.5 / noise.shape[-2] ** 0.5)
        return scale * noise

    def initial_leak(self, noise: Tensor) -> Tensor:
        """Initial leaks ``[restarts, 1, units]`` from standard normal noise of that shape; near 0."""
        return 0.1 * noise

    def drive_of_leak(self, leak: float) -> float:
        """Drive of a leak given as the imaging model states it; ValueError if out of range."""
        return float(leak)

    def without_leak(self, num_units: int) -> float:
        """Leak of a layer that was given none: an error where units need one to turn on."""
        if self.constraint is constraints.real:
            return 0.0
        raise ValueError(
            f"a {type(self).__name__} layer of {num_units} units has neither a fixed nor a learned leak, so its units "
            "could not turn on without a cause and log-probabilities would be infinite; give one of the two"
        )

    @property
    def leak(self) -> Tensor:
        """Sum of the fixed and the learned leak, ``[restarts, 1, units]``."""
        learned: Tensor | None = self.learned_leak
        fixed: Tensor | None = self.fixed_leak
        if learned is None:
            assert fixed is not None
            return fixed.expand(self.restarts, 1, self.num_units)
        return learned if fixed is None else learned + fixed

    def drive(self, causes: Tensor | None = None) -> Tensor:
        """``causes @ weight + leak``: ``[..., restarts, data, causes]`` to ``[..., restarts, data, units]``.

        Without causes, the leak alone, ``[restarts, 1, units]``. A single restart has no dimension of its own.
        """
        return drive_of(causes, None if causes is None else self.weight, self.leak)

    def log_prob(self, drive: Tensor, values: Tensor, observed: Tensor | None = None) -> Tensor:
        """Log-probability of the whole layer, ``[...]`` of drives and values ``[..., units]``, in nats.

        Args:
            drive: of the units, that from units of their own layer included.
            values: of the units; any that they can have where they are not observed.
            observed: which units are not missing; None where all are.

        """
        layer = self.distribution(drive)
        if self.blocks and observed is not None:
            raise depends_on_all("Autoregressive")
        if layer.event_dim:
            log_prob: Tensor = (layer if observed is None else leaving_out(layer, observed)).log_prob(values)
            return log_prob
        log_prob = layer.log_prob(values)
        return (log_prob if observed is None else torch.where(observed, log_prob, 0.0)).sum(-1)

    def log_mean(self, q: Tensor, *, max_enumerated: int) -> LogProbs:
        """Log of the units' mean probability, or of what the paper has in its place, under independent causes.

        Args:
            q: probabilities of the causes, ``[..., data, causes]``.
            max_enumerated: sum over every state of the causes where there are no more, if the rule is else approximate.

        """
        raise TypeError(f"a {type(self).__name__} layer has no rule for uncertain causes; use a scheme that samples")

    def mean_log_by_quadrature(self, q: Tensor, *, tolerance: float) -> LogProbs:
        """Mean of the units' log-probabilities under causes of means ``q[..., causes]``, within ``tolerance`` nats."""
        raise TypeError(f"a {type(self).__name__} layer has no rule for uncertain causes; use a scheme that samples")

    def mean_log(self, q: Tensor, *, tolerance: float, max_enumerated: int) -> LogProbs:
        """Mean of the units' log-probabilities under independent causes: ``E[log p]`` and ``E[log (1 - p)]``.

        Args:
            q: probabilities of the causes, ``[..., data, causes]``.
            tolerance: largest error of each, in nats.
            max_enumerated: sum over every state of the causes where there are no more, which is exact.

        """
        if q.shape[-1] > max_enumerated:
            return self.mean_log_by_quadrature(q, tolerance=tolerance)
        log_probs, states = self.enumerated(q)
        return LogProbs(*(states @ log_prob for log_prob in log_probs))

    def enumerated(self, q: Tensor) -> tuple[LogProbs, Tensor]:
        """Log-probabilities ``[..., states, units]`` given every state of the causes, and the states' probabilities."""
        return self.log_probs(all_states(q.shape[-1], q)), state_probabilities(q)

    def log_probs(self, causes: Tensor | None = None) -> LogProbs:
        """Log-probabilities ``[..., units]`` given causes ``[..., causes]``, or of a top layer; binary units only."""
        units = self.distribution(self.drive(causes))
        one = torch.ones((), dtype=self.leak.dtype, device=self.leak.device)
        return LogProbs(units.log_prob(one), units.log_prob(1 - one))

    @property
    def weight_and_leak(self) -> tuple[Tensor, Tensor]:
        """``[restarts, causes, units]`` and ``[restarts, 1, units]``; of a single restart without that dimension."""
        weight, leak = self.weight, self.leak
        return (weight[0], leak[0]) if self.restarts == 1 else (weight, leak)

    def driven(self) -> Callable[[Tensor | None], Tensor]:
        """Read weights and leak now; give the function from causes ``[..., causes]`` to drive ``[..., units]``."""
        weight, leak = getattr(self, "weight", None), self.leak
        return lambda causes: drive_of(causes, weight, leak)

    def conditional(self) -> Callable[[Tensor | None], TorchDistribution]:
        """Read the parameters now; give the function from causes ``[..., causes]`` to the distribution of the units.

        A program reads them before it enters its plates, so that a prior put on them is sampled once, not per datum.
        """
        drive, others = self.driven(), self.unit_parameters()
        if not self.blocks:
            return lambda causes: _with_event(self.distribution(drive(causes), *others))
        lateral = self.lateral_weight

        def some(drive: Tensor, units: slice) -> TorchDistribution:
            return self.distribution_of(drive, units, *others)

        return lambda causes: Autoregressive(drive(causes), lateral, self.blocks, some)

    def forward(self, causes: Tensor | None = None) -> TorchDistribution:
        """Distribution of the layer given its causes ``[..., causes]``, with the units as event."""
        with local_parameters():
            return self.conditional()(causes)


def local_parameters() -> AbstractContextManager[None]:
    """Read parameters from their own module.

    By Pyro's default a module that is called reads them from the global store by name, where a second machine in the
    same process would silently get the first one's.
    """
    context: AbstractContextManager[None] = pyro.settings.context(module_local_params=True)
    return context


def of_units(parameter: Tensor) -> Tensor:
    """A parameter ``[restarts, 1, units]``; of a single restart without that dimension, as drives are."""
    return parameter.squeeze(0) if len(parameter) == 1 else parameter


def _with_event(layer: TorchDistribution) -> TorchDistribution:
    return layer if layer.event_dim else layer.to_event(1)


def drive_of(causes: Tensor | None, weight: Tensor | None, leak: Tensor) -> Tensor:
    """``causes @ weight + leak``, ``[..., units]``.

    Args:
        causes: ``[..., restarts, data, causes]``; of a single restart without its dimension.
        weight: ``[restarts, causes, units]``.
        leak: ``[restarts, 1, units]``.

    """
    single = len(leak) == 1
    if causes is None or weight is None:
        return leak.squeeze(0) if single else leak
    # squeezed, not indexed: the gradient of a view costs nothing
    return linear(causes, weight.squeeze(0).mT, leak.flatten()) if single else causes @ weight + leak
