"""Runs of a study: one training each, known by a digest of what decides its numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch

from pyro_helm.data.sets import Data
from pyro_helm.experiments.budgets import Budget, steps_per_epoch
from pyro_helm.experiments.digests import digest_of
from pyro_helm.experiments.machines import GUIDE, MODEL, Builder, is_made_of_parts
from pyro_helm.experiments.optimizers import optimizer_of
from pyro_helm.experiments.own_names import code_of, named
from pyro_helm.experiments.scheme_settings import described_scheme
from pyro_helm.runtime.suggestions import unknown
from pyro_helm.schemes import Scheme
from pyro_helm.training.fitting import fit
from pyro_helm.training.manifest import described
from pyro_helm.training.schedules import by_name
from pyro_helm.training.settings import Settings, checked_settings
from pyro_helm.training.steps import STEPS

FORMAT = 1
"""Of a description; another one makes other digests."""

_GIVEN_BY_THE_STUDY = {
    *("model", "guide", "data", "scheme", "valid", "seed", "dataset", "num_epochs", "max_seconds"),
    *("out", "resume", "save_every", "overwrite", "progress", "callbacks"),
}
_TOLD_BY_THE_BUDGET = {"num_epochs", "max_seconds"}
_ROWS, _ABSENT = "data_digest", object()


@dataclass(frozen=True, eq=False)  # eq: each is itself, and may be a key
class Run:
    """One training of a study.

    Attributes:
        labels: ``dataset``, ``machine``, ``scheme`` and ``budget``, as tables name them; they decide no number.
        description: what decides its numbers, as JSON can hold it.
        build: its machine.
        objective: its scheme.
        training: :func:`pyro_helm.fit`, or a function like it.
        settings: of the training.
        measure: from the trained model, guide and data to more numbers, ``restart, metric, value``; or None.
        steps_per_epoch: training steps of a pass over its data.
        save_every: seconds between saves.
        width: of its data.

    """

    labels: Mapping[str, str]
    description: Mapping[str, Any]
    build: Builder
    objective: Scheme
    training: Callable[..., Any]
    settings: Mapping[str, Any]
    measure: Callable[..., Any] | None
    steps_per_epoch: int
    save_every: float
    width: int

    @cached_property
    def digest(self) -> str:
        """Name of its folder."""
        return digest_of(self.description)

    def __str__(self) -> str:
        return " ".join(self.labels.values())


def settings_of_training(training: Callable[..., Any]) -> dict[str, Any]:
    """Settings that a study may give a training, with their defaults; those of ``fit`` if it takes any others.

    >>> settings_of_training(fit)["batch_size"]
    100
    """
    parameters = inspect.signature(training).parameters.values()
    own = {each.name: each.default for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD}
    handed_on = settings_of_training(fit) if len(own) < len(parameters) else {}
    return {**handed_on, **{name: value for name, value in own.items() if name not in _GIVEN_BY_THE_STUDY}}


def live(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a training takes them, where a study file has names for them.

    >>> live({"dtype": "float64", "optimizer": "adam", "batch_size": "all"})
    {'dtype': torch.float64, 'batch_size': None}
    """
    found = {name: value for name, value in settings.items() if (name, value) != ("optimizer", "adam")}
    if found.get("batch_size") == "all":
        found["batch_size"] = None
    optimizer, dtype, schedule = (found.get(name) for name in ("optimizer", "dtype", "schedule"))
    if isinstance(optimizer, str):
        found["optimizer"] = optimizer_of(optimizer)
    if isinstance(dtype, str):
        found["dtype"] = getattr(torch, dtype, dtype)
    if isinstance(schedule, str) and ":" in schedule:
        found["schedule"] = named(schedule, "schedule")
    return found


def run_of(
    labels: Mapping[str, str],
    *,
    data: Data,
    said_of_data: Mapping[str, Any],
    machine: Any,
    arguments: Mapping[str, Any],
    build: Builder,
    objective: Scheme,
    settings: Mapping[str, Any],
    budget: Budget,
    restarts: int,
    seed: int,
    scores: Mapping[str, Any],
    on_distribution: bool = False,
    save_every: float = 60.0,
    training: Callable[..., Any] = fit,
    measure: Callable[..., Any] | None = None,
) -> Run:
    """A run, with its description complete; the arguments are those of the entries of a study."""
    chosen = live(settings)
    _check_values(chosen)
    if not objective.captures and chosen.get("step") in STEPS:
        chosen["step"] = "eager"
    all_settings = settings_of_training(training) | chosen
    rows, batch_size = _number_of_rows(data, on_distribution, labels["dataset"]), all_settings.get("batch_size")
    chosen |= _of_budget(budget, rows, batch_size, all_settings.get("schedule"))
    known = {name: value for name, value in (all_settings | chosen).items() if value is not inspect.Parameter.empty}
    description = {
        "format": FORMAT,
        "data": dict(said_of_data),
        "machine": {"machine": described(machine), **described(arguments), **_own_code(machine, arguments)},
        "scheme": dict(described_scheme(objective)),
        "settings": {name: described(value) for name, value in sorted(known.items()) if value is not None},
        "on_distribution": on_distribution,
        "restarts": restarts,
        "seed": seed,
        "scores": described(scores),
        **({} if training is fit else {"training": described(training)}),
        **({} if measure is None else {"measure": described(measure)}),
    }
    steps = steps_per_epoch(rows, batch_size)
    width = data.train.shape[1]
    return Run(labels, description, build, objective, training, chosen, measure, steps, save_every, width)


def _check_values(settings: Mapping[str, Any]) -> None:
    """Refuse values that a training would refuse, before there is one."""
    known = {field.name for field in fields(Settings)}
    checked_settings(Settings(**{name: value for name, value in settings.items() if name in known}), has_valid=True)
    dtype, schedule, step = (settings.get(name) for name in ("dtype", "schedule", "step"))
    if not isinstance(dtype, torch.dtype | None):
        raise ValueError(f"dtype must be one of torch's, such as float64, got {dtype!r}")
    if isinstance(schedule, str):
        by_name(schedule, 1)
    if step is not None and step not in STEPS:
        raise ValueError(f"step must be one of {', '.join(STEPS)}; got {step!r}")


def check_reference(reference: str, runs: Sequence[Run]) -> None:
    """Refuse a scheme to compare with that no run has."""
    labels = {run.labels["scheme"] for run in runs}
    if reference and reference not in labels:
        raise ValueError(f"reference is {reference!r}, expected one of the schemes {', '.join(sorted(labels))}")


def _own_code(machine: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Digests of the user's own code that a machine names in text."""
    lines = [machine, *(arguments.get(part) for part in ("model", "guide"))]
    found = {name: code for line in lines if isinstance(line, str) for name, code in code_of(line).items()}
    return {"code": found} if found else {}


def _number_of_rows(data: Data, on_distribution: bool, name: str) -> int:
    if not on_distribution:
        return len(data.train)
    if data.distribution is None:
        raise ValueError(f"on_distribution needs a generated data set such as shifter; {name} has no distribution")
    return len(data.distribution.patterns)


def _of_budget(budget: Budget, rows: int, batch_size: int | None, schedule: Any) -> dict[str, Any]:
    if budget.num_steps is None and budget.num_epochs is None and schedule is not None:
        raise ValueError("a schedule needs a number of epochs or steps; with a budget of seconds alone it has none")
    limit = {} if budget.max_seconds is None else {"max_seconds": budget.max_seconds}
    return {"num_epochs": budget.epochs(rows, batch_size), **limit}


def columns_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a run as a column of tables: those of training, scheme, machine, data and scores.

    A name that the training has too is that of the scheme with ``scheme_`` before it.
    """
    training = dict(description["settings"])
    found: dict[str, Any] = {name: _cell(value) for name, value in training.items()}
    for part, left_out in (
        ("scheme", {"name"}),
        ("machine", {"machine", "imaging", "sizes", "code"}),  # which have columns of their own, or need none
        ("data", {"source"}),
        ("scores", {"splits"}),
    ):
        for name, value in description[part].items():
            if name not in left_out:
                is_taken = name in found or name == "model" or (part == "data" and name != "data_seed")
                column = f"{part}_{name}" if is_taken else name
                found[column] = _cell(value)
    if is_made_of_parts(description["machine"]["machine"]):
        found = {"machine_model": MODEL, "guide": GUIDE} | found
    return found | {"on_distribution": description["on_distribution"]}


def columns_of_all(descriptions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """:func:`columns_of` of each run; a setting of the training that only others have is None.

    A description leaves out those that are None.
    """
    of_training = dict.fromkeys(name for each in descriptions for name in each["settings"])
    return [of_training | columns_of(each) for each in descriptions]


def _cell(value: Any) -> Any:
    """A number, text or truth value as it is; anything else as text."""
    if isinstance(value, Mapping):
        value = _function_and_settings(value) or value.get("class") or dict(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _function_and_settings(said: Mapping[str, Any]) -> str:
    """A partial of a function, on one line; empty for anything else."""
    if "function" not in said:
        return ""
    settings = [f"{name}={_cell(value)}" for name, value in said.items() if name not in ("function", "args")]
    return " ".join([str(_cell(said["function"])), *settings])


def having(runs: Sequence[Run], name: str, values: Any) -> list[Run]:
    """Those runs of which a label or setting has one of some values.

    Raises:
        ValueError: if no run has such a label or setting, or for a value that none has.

    """
    settings = columns_of_all([run.description for run in runs])
    known = [{**each, **run.labels, "seed": run.description["seed"]} for run, each in zip(runs, settings, strict=True)]
    if not any(name in each for each in known):
        raise ValueError(unknown("label or setting", name, list(dict.fromkeys(key for each in known for key in each))))
    there = {_comparable(each[name]): str(each[name]) for each in known if name in each}
    several = values if isinstance(values, list | tuple | set) else [values]
    asked = {_comparable(None if (name, value) == ("batch_size", "all") else value) for value in several}
    if no_runs := sorted(str(value) for value in asked if value not in there):
        raise ValueError(f"no run has {name} {' or '.join(no_runs)}, expected one of {', '.join(there.values())}")
    return [run for run, each in zip(runs, known, strict=True) if name in each and _comparable(each[name]) in asked]


def _comparable(value: Any) -> Any:
    """A number however it is written, a truth value as TOML has it, else text."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def varied(columns: Sequence[Mapping[str, Any]], labels: Sequence[Hashable]) -> list[str]:
    """Settings that differ between those runs that have them, or that of runs with the same labels one alone has.

    What runs have that can't have the same is no difference: the particles of a scheme beside one that draws none.
    Neither are the rows of data sets with names of their own.

    >>> varied([{"learning_rate": 0.1, "num_particles": 5}, {"learning_rate": 0.2}], ["vimco", "wake_sleep"])
    ['learning_rate']
    >>> varied([{"data_train": 50}, {}], ["bars", "bars"])
    ['data_train']
    """
    names = dict.fromkeys(name for each in columns for name in each if name not in _TOLD_BY_THE_BUDGET)
    alike: dict[Hashable, list[Mapping[str, Any]]] = {}
    for label, each in zip(labels, columns, strict=True):
        alike.setdefault(label, []).append(each)
    return [
        name
        for name in names
        if (name != _ROWS and len({repr(each[name]) for each in columns if name in each}) > 1)
        or any(len({repr(each.get(name, _ABSENT)) for each in group}) > 1 for group in alike.values())
    ]
