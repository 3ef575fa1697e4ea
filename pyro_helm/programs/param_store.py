"""Pyro's global param store: which parameters a program reads from it, and what it may not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from inspect import getclosurevars
from types import FunctionType, MethodType
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule

from pyro_helm.programs.particles import Program
from pyro_helm.programs.rows import is_own


def stores_apart(*programs: Program | None) -> AbstractContextManager[Any]:
    """An empty param store for modules, which have their parameters themselves and would leave them behind.

    Functions keep theirs in the global store, so with one of them that stays.

    Raises:
        ValueError: for parameters of one name in both programs, which the store would make one.

    """
    check_names_differ(*programs)
    modules = all(program is None or isinstance(program, torch.nn.Module) for program in programs)
    return own_param_store() if modules else nullcontext()


def own_param_store() -> AbstractContextManager[Any]:
    """An empty global param store for a while.

    In a Pyro module of the user's own, parameters give way to those of their name in the store, left there by another
    machine.
    """
    context: AbstractContextManager[Any] = pyro.get_param_store().scope()
    return context


def check_names_differ(*programs: object, trained_by_store: bool = False) -> None:
    """Raise ValueError for constrained parameters of one name in several modules, which Pyro's store would make one.

    Args:
        programs: Pyro programs; the modules behind functions, methods and partials are found too.
        trained_by_store: whether what is trained is what the store holds, as with Pyro's SVI, of two parameters of one
            name the first alone; refuse any then, constrained or not.

    """
    if all(program is None or is_own(program) for program in programs):
        return
    found: dict[str, torch.nn.Parameter] = {}
    for module in _modules_behind(list(programs)):
        for name, parameter in _named(module, "", constrained=not trained_by_store):
            if found.setdefault(name, parameter) is not parameter:
                raise ValueError(
                    f"model and guide, or two modules in them, each have a parameter {name!r}, which Pyro would take "
                    "for one and the same; give them different names"
                )


def _named(module: torch.nn.Module, name: str, *, constrained: bool) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The parameters of a module, all or the constrained ones, by the names that they have in Pyro's store."""
    is_pyro = isinstance(module, PyroModule)
    if is_pyro:
        name = str(module._pyro_name) or name
        with_constraint: Any = getattr(module, "_pyro_params", ())
        for own in with_constraint:
            yield f"{name}.{own}".lstrip("."), getattr(module, f"{own}_unconstrained")
        for own, parameter in module.named_parameters(recurse=False):
            if not constrained and not own.endswith("_unconstrained"):
                yield f"{name}.{own}".lstrip("."), parameter
    for own, child in module.named_children():
        # a Pyro module inside another module of torch's begins with names of its own
        inside = f"{name}.{own}".lstrip(".") if is_pyro else ""
        if is_pyro and not constrained and not isinstance(child, PyroModule):
            for part, parameter in child.named_parameters():
                yield f"{inside}$$${part}", parameter
        yield from _named(child, inside, constrained=constrained)


def _modules_behind(programs: list[Any]) -> list[torch.nn.Module]:
    """The modules that programs are, belong to, are made of, or are closed over."""
    modules: list[torch.nn.Module] = []
    seen: set[int] = set()
    while programs:
        program = programs.pop()
        if id(program) in seen:
            continue
        seen.add(id(program))
        if isinstance(program, torch.nn.Module):
            modules.append(program)
        elif isinstance(program, partial):
            programs += [program.func, *program.args, *program.keywords.values()]
        elif isinstance(program, MethodType):
            programs += [program.__self__, program.__func__]
        elif isinstance(program, FunctionType):
            programs += [value for kind in getclosurevars(program)[:2] for value in kind.values()]
    return modules


def check_all_are_trained(parameters: list[torch.nn.Parameter]) -> None:
    """Refuse what the programs have put into the param store, empty before, that is not a parameter of theirs."""
    trained = {parameter.data_ptr() for parameter in parameters}
    for name, value in pyro.get_param_store().named_parameters():
        if value.data_ptr() not in trained:
            raise ValueError(
                f"{name!r} is made by a pyro.param statement and is no parameter of the module, so fit would not train "
                "it; make it a PyroParam of the module, or train with pyro.infer.SVI(model, guide, optim, loss=scheme)"
            )
