"""The one checker of an estimator: mean value and mean gradient against exact ones, as z-scores.

Restarts with equal parameters are independent replicates of an estimate, so one backward pass gives thousands of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from torch import Tensor, nn

from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import Scheme
from tests.oracle import Machine

Z_THRESHOLD = 4.8
"""About one false alarm in 6,000 checks of 100 entries each; the seeds are fixed, so a pass stays a pass."""

REPLICATES = 5_000
"""Finds a bias of 0.1 standard deviations of one estimate, (4.8 + 2) / sqrt(5000), in 98 of 100 runs."""

DATA = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1]], dtype=torch.float64)


def tiny_machine(imaging: str, seed: int = 3, spread: float = 0.7) -> Machine:
    """A machine of 3-2-2 units in float64, well away from its initial values."""
    model = BeliefNetwork((3, 2, 2), imaging, seed=seed).double()
    guide = FactorialRecognition((3, 2, 2), seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in [*model.parameters(), *guide.parameters()]:
            parameter += spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return Machine(model, guide)


def replicates(machine: Machine, number: int) -> tuple[BeliefNetwork, FactorialRecognition]:
    """Model and guide with so many restarts, all with the parameters of the machine."""
    model = BeliefNetwork(machine.model.sizes, machine.model.imaging, restarts=number).double()
    guide = FactorialRecognition(machine.guide.sizes, restarts=number).double()
    for many, one in ((model, machine.model), (guide, machine.guide)):
        many.load_state_dict({name: value.expand(number, *value.shape[1:]) for name, value in one.state_dict().items()})
    return model, guide


def parameters(machine: Machine) -> dict[str, nn.Parameter]:
    return {
        f"{part}.{name}": parameter
        for part, module in (("model", machine.model), ("guide", machine.guide))
        for name, parameter in module.named_parameters()
    }


def exact_gradient(machine: Machine, objective: Tensor) -> dict[str, Tensor]:
    named = parameters(machine)
    gradients = torch.autograd.grad(objective, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True)
    }


def named_gradients(model: nn.Module, guide: nn.Module) -> dict[str, Tensor]:
    """Gradients of all parameters of both after a backward pass, zeros where none has arrived."""
    return {
        f"{part}.{name}": torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for part, module in (("model", model), ("guide", guide))
        for name, parameter in module.named_parameters()
    }


def estimates(
    scheme: Scheme, machine: Machine, x: Tensor, seed: int = 0, number: int = REPLICATES
) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses [replicates] and their gradients, each [replicates, ...]."""
    model, guide = replicates(machine, number)
    pyro.set_rng_seed(seed)
    losses = scheme.restart_losses(model, guide, observations={"x": x})
    losses.sum().backward()
    return losses.detach(), named_gradients(model, guide)


def z_scores(samples: Tensor, exact: Tensor) -> Tensor:
    """How many standard errors the mean over the first dimension is from the exact value."""
    error = samples.std(0) / len(samples) ** 0.5
    # entries without any spread must be exact up to rounding
    z: Tensor = (samples.mean(0) - exact) / (error + 1e-10)
    return z


def worst_z(gradients: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> dict[str, float]:
    """Largest z-score of each parameter."""
    assert gradients.keys() == exact.keys()
    return {name: float(z_scores(gradients[name], exact[name][0]).abs().max()) for name in exact}
