"""Which kind of steps a training takes where none is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.poutine.runtime import _PYRO_STACK
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from pyro_helm.programs.layered import is_layered
from pyro_helm.schemes import SCHEMES, Scheme
from pyro_helm.schemes.learning_signals import is_unaltered
from pyro_helm.training.descent import is_fused

STEPS_THAT_PAY = 200
"""Steps after which capturing one has paid: it takes as long as 55 to 190 eager ones, by net and number of restarts."""


def chosen_kind(
    programs: Sequence[nn.Module], scheme: Scheme, descent: torch.optim.Optimizer, sizes: Sequence[int], num_epochs: int
) -> str:
    """``"captured"`` where that is known to be the eager step, bit for bit, and to take less time; else ``"eager"``.

    It is on the CPU, for the library's own machines, schemes and a fused optimiser of torch's, with no hook or handler
    by which Python would take part in a step, and where the steps are enough to pay for the capturing.

    Args:
        programs: model, and guide if there is one.
        scheme: inference scheme.
        descent: optimiser.
        sizes: of the minibatches of an epoch; a step is captured for each that differs.
        num_epochs: of the training.

    """
    pays = len(sizes) * num_epochs >= STEPS_THAT_PAY * len(set(sizes))
    is_known = _is_own_scheme(scheme) and all(map(is_unaltered, programs)) and is_fused(descent)
    if not pays or not is_known or _sees_python(programs):
        return "eager"
    on_cpu = all(parameter.device.type == "cpu" for program in programs for parameter in program.parameters())
    return "captured" if on_cpu else "eager"


def may_narrow(programs: Sequence[nn.Module], scheme: Scheme, kind: str) -> bool:
    """Whether restarts can be left out of the batch.

    Not of user-defined programs or of schemes that remember each; to compile again would take longer than it saves, and
    a step launched at once has its parameters where they are.
    """
    on_cpu = next(programs[0].parameters()).device.type == "cpu"
    may_be_made_anew = kind == "eager" or (kind == "captured" and on_cpu)
    return all(map(is_layered, programs)) and scheme.captures and may_be_made_anew


def _is_own_scheme(scheme: Scheme) -> bool:
    """Whether a scheme does the same operations in every step, known of the library's own alone."""
    is_altered = any(map(callable, vars(scheme).values()))
    return scheme.captures and type(scheme) in SCHEMES.values() and not is_altered


def _sees_python(programs: Sequence[nn.Module]) -> bool:
    """Whether a step of the programs calls back: handlers of Pyro's around it, or hooks on the way back."""
    modules = [module for program in programs for module in program.modules()]
    parameters = [parameter for program in programs for parameter in program.parameters()]
    return bool(
        _PYRO_STACK
        or _has_any_global_hook()
        or any(module._backward_hooks or module._backward_pre_hooks for module in modules)
        or any(parameter._backward_hooks for parameter in parameters)
    )


def numbers_of(scheme: Scheme) -> dict[str, object]:
    """The settings of a scheme that a captured step keeps as they were."""
    return {name: value for name, value in vars(scheme).items() if isinstance(value, (bool, int, float, str))}
