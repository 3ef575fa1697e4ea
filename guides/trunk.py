"""Any network of torch's before the first layer of a recognition network, one for each restart."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from pyro_helm.layers.missing import IN_PLACE, has_missing
from pyro_helm.runtime.seeding import forked_rng


class Trunk(nn.Module):
    """Copies of a module, one per restart, as one module whose parameters have the restarts in front.

    The first restart has the values of the module, the others are drawn anew, by the ``reset_parameters`` of each part.
    All are run at once, by ``torch.func``. A parameter ``0.weight`` is called ``0:weight`` here.

    Args:
        module: from rows ``[rows, units]`` to features ``[rows, features]``.
        num_units: visible units.
        restarts: independent copies.
        seed: of what is drawn anew; None for torch's global generator.

    Attributes:
        num_features: that the module makes of a row.

    Raises:
        TypeError: for what is no module.
        ValueError: for a module without features ``[rows, features]``.

    """

    def __init__(self, module: nn.Module, num_units: int, *, restarts: int = 1, seed: int | None = None) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"trunk must be a torch.nn.Module, got {module!r}; files do not hold it, so make the guide and pass it "
                "as load(path, guide=...)"
            )
        self.restarts = restarts
        self.name = f"{type(module).__module__}:{type(module).__qualname__}"
        copies = [module, *(copy.deepcopy(module) for _ in range(restarts - 1))]
        with nullcontext() if seed is None else forked_rng(seed, torch.device("cpu")):
            for other in copies[1:]:
                other.apply(_drawn_anew)
        parameters, buffers = stack_module_state(copies)
        for name, value in parameters.items():
            self.register_parameter(_own(name), nn.Parameter(value.detach().clone()))
        for name, value in buffers.items():
            self.register_buffer(_own(name), value.clone())
        self._names = {name: _own(name) for name in (*parameters, *buffers)}
        self._module = [copy.deepcopy(module)]  # in a list, so that its own parameters are none of this module's
        self.num_features = self._features_of(module, num_units)

    @property
    def module(self) -> nn.Module:
        """The module that was given, with its own values."""
        return self._module[0]

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[..., restarts, data, features]`` of rows ``[..., data, units]``; one restart has no dimension."""
        if has_missing(x):
            x = x.nan_to_num(nan=IN_PLACE)
        values = {name: getattr(self, own) for name, own in self._names.items()}
        (module,) = self._module
        module.train(self.training)

        def features(values: dict[str, Tensor], rows: Tensor) -> Tensor:
            found: Tensor = functional_call(module, values, (rows.flatten(0, -2),))
            return found.reshape(*rows.shape[:-1], -1)

        if self.restarts == 1:
            return features({name: value[0] for name, value in values.items()}, x)
        x = x.expand(*x.shape[:-3], self.restarts, *x.shape[-2:])
        stacked: Tensor = torch.vmap(features, in_dims=(0, -3), out_dims=-3, randomness="different")(values, x)
        return stacked

    def _features_of(self, module: nn.Module, num_units: int) -> int:
        was_training = module.training
        try:
            with torch.no_grad(), forked_rng(0, torch.device("cpu")):
                like = next(module.parameters(), torch.empty(0))
                found: Any = module.eval()(torch.zeros(2, num_units, dtype=like.dtype))
        finally:
            module.train(was_training)
        if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != 2:
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"trunk must make features [rows, features] of rows [2, {num_units}], but it made {shape}")
        return found.shape[1]


def _own(name: str) -> str:
    return name.replace(".", ":")


def _drawn_anew(part: nn.Module) -> None:
    reset = getattr(part, "reset_parameters", None)
    if callable(reset):
        reset()
