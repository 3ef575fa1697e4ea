"""Which param store a model and guide are read from while they are scored."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from pyro_helm.particles import Program
from pyro_helm.placement import check_names_differ, own_param_store


def stores_apart(*programs: Program | None) -> AbstractContextManager[Any]:
    """An empty param store for modules, which have their parameters themselves and would leave them behind.

    Functions keep theirs in the global store, so with one of them that stays.

    Raises:
        ValueError: for parameters of one name in both programs, which the store would make one.

    """
    check_names_differ(*programs)
    modules = all(program is None or isinstance(program, torch.nn.Module) for program in programs)
    return own_param_store() if modules else nullcontext()
