"""From what a study is asked to cross to its runs.

An entry is a data set, a machine or a scheme. It may bring its own value, or list of values, of any setting; what a
scheme says goes before what a machine says, that before a data set, and that before the study. A list is a grid.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from pyro_helm.data.sets import Data
from pyro_helm.data.splits import PARTS
from pyro_helm.experiments.budgets import budget_of
from pyro_helm.experiments.data_sets import data_digest, data_of, keep, load_part
from pyro_helm.experiments.machines import builder_of
from pyro_helm.experiments.named_parts import made, read_line
from pyro_helm.experiments.run_plans import Run, run_of, settings_of_training
from pyro_helm.experiments.scheme_settings import scheme_class, settings_of_scheme, takes
from pyro_helm.runtime.arguments import checked_seed
from pyro_helm.runtime.suggestions import unknown
from pyro_helm.schemes import Scheme
from pyro_helm.training.fitting import fit

_OF_THE_STUDY = ("budget", "on_distribution")


@dataclass(frozen=True)
class Entry:
    """A data set, machine or scheme of a study.

    Attributes:
        label: what tables call it.
        thing: text, or an object.
        arguments: of what makes it.
        settings: its own values of settings of the runs.

    """

    label: str
    thing: Any
    arguments: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a study crosses; :class:`pyro_helm.Study` says what each is."""

    datasets: Sequence[Any]
    machines: Sequence[Any]
    schemes: Sequence[Any]
    settings: Mapping[str, Any]
    budget: Any
    restarts: int
    seeds: Sequence[int]
    scores: Mapping[str, Any]
    save_every: float = 60.0
    training: Callable[..., Any] = fit
    measure: Callable[..., Any] | None = None

    def runs(self, folder: Path) -> list[Run]:
        """Every run, each once; data sets given as objects are kept in the folder."""
        schemes = labelled_schemes(self.schemes)
        self._check_settings("the study", self.settings, [scheme.thing for scheme in schemes])
        runs: dict[str, Run] = {}
        for entry in map(dataset_entry, _listed(self.datasets, "datasets")):
            data, said = self._data(entry, folder)
            machines = entry.arguments.get("machines", self.machines)
            for machine, scheme in product(map(machine_entry, _listed(machines, "machines")), schemes):
                for run in self._crossed(entry, data, said, machine, scheme):
                    first = runs.setdefault(run.digest, run)
                    if first.labels != run.labels:
                        raise ValueError(
                            f"'{first}' and '{run}' are the same, with the same settings; name one of them"
                        )
        return list(runs.values())

    def _data(self, entry: Entry, folder: Path) -> tuple[Data, dict[str, Any]]:
        how = {name: value for name, value in entry.arguments.items() if name != "machines"}
        if isinstance(entry.thing, Data):
            keep(entry.thing, folder)
            return entry.thing, {"source": None, "digest": data_digest(entry.thing)}
        said = {"source": str(entry.thing), **how, "digest": data_digest(load_part(str(entry.thing), **how))}
        return data_of(said, folder), said

    def _crossed(
        self, dataset: Entry, data: Data, said: Mapping[str, Any], machine: Entry, scheme: Entry
    ) -> Iterator[Run]:
        kinds = [scheme.thing]
        for entry in (dataset, machine, scheme):
            self._check_settings(entry.label, entry.settings, kinds)
        settings = {"budget": self.budget, **self.settings, **dataset.settings, **machine.settings, **scheme.settings}
        build = builder_of(machine.thing, machine.arguments)
        for chosen, seed in product(grid(settings), self.seeds):
            budget = budget_of(chosen["budget"])
            labels = {"dataset": dataset.label, "machine": machine.label, "scheme": scheme.label, "budget": str(budget)}
            objective, rest = _made_scheme(scheme, chosen, self.training)
            yield run_of(
                labels,
                data=data,
                said_of_data=said,
                machine=machine.thing,
                arguments=machine.arguments,
                build=build,
                objective=objective,
                on_distribution=rest.pop("on_distribution", False),
                settings=rest,
                budget=budget,
                restarts=self.restarts,
                seed=seed,
                scores=self.scores,
                save_every=self.save_every,
                training=self.training,
                measure=self.measure,
            )

    def _check_settings(self, where: str, settings: Any, kinds: Iterable[Any]) -> None:
        if not isinstance(settings, Mapping):
            raise ValueError(f"settings must be a table of names and values, got {settings!r:.60}")
        known = [*settings_of_training(self.training), *_OF_THE_STUDY]
        of_schemes = {name for kind in kinds if inspect.isclass(kind) for name in inspect.signature(kind).parameters}
        for name in settings:
            if name not in known and name not in of_schemes:
                raise ValueError(f"{where}: {unknown('setting', name, [*known, *sorted(of_schemes - {*known})])}")


def seeds_of(given: Any) -> list[int]:
    """Seeds of a study; ValueError for what is no list of them."""
    return [checked_seed(seed) for seed in _listed(given, "seeds")]


def grid(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of those settings that are lists.

    >>> list(grid({"learning_rate": [0.1, 0.2], "batch_size": 10}))
    [{'learning_rate': 0.1, 'batch_size': 10}, {'learning_rate': 0.2, 'batch_size': 10}]
    """
    for name, value in settings.items():
        if value == []:
            raise ValueError(f"setting {name} is an empty list, expected one value or several")
    values = [value if isinstance(value, list) else [value] for value in settings.values()]
    for chosen in product(*values):
        yield dict(zip(settings, chosen, strict=True))


def dataset_entry(given: Any) -> Entry:
    """A data set of a study: text, a :class:`pyro_helm.Data`, or a table with ``data`` and its own settings."""
    if isinstance(given, Mapping):
        rest = dict(given)
        thing = _taken(rest, "data", "a data set")
        own = {name: rest.pop(name) for name in (*PARTS, "data_seed", "machines") if name in rest}
        return Entry(str(rest.pop("name", None) or _name_of_data(thing, own)), thing, own, rest)
    if not isinstance(given, Data | str | Path):
        raise TypeError(f"datasets must be names, paths or data such as load_data('digits') gives, got {given!r:.60}")
    return Entry(_name_of_data(given, {}), given)


def _name_of_data(thing: Any, own: Mapping[str, Any]) -> str:
    name = thing.name if isinstance(thing, Data) else Path(str(thing)).stem if "/" in str(thing) else str(thing)
    return f"{name} {own['data_seed']}" if own.get("data_seed") else name


def machine_entry(given: Any) -> Entry:
    """A machine of a study: text, a function, or a table with ``machine`` and more, and its own settings."""
    if isinstance(given, Mapping):
        rest = dict(given)
        thing, arguments = _taken(rest, "machine", "a machine"), rest.pop("arguments", {})
        parts = {part: rest.pop(part) for part in ("model", "guide") if part in rest}
        label = rest.pop("name", None) or " ".join([_name_of_machine(thing), *map(str, parts.values())])
        return Entry(str(label), thing, {**arguments, **parts}, rest)
    return Entry(_name_of_machine(given), given)


def _name_of_machine(thing: Any) -> str:
    return thing if isinstance(thing, str) else getattr(thing, "__name__", type(thing).__name__)


def labelled_schemes(given: Any) -> list[Entry]:
    """The schemes of a study, each with a label of its own: its name where it stands once, else with its settings."""
    entries = [_scheme_entry(each) for each in _listed(given, "schemes")]
    labelled = []
    for entry in entries:
        alike = [_own_settings(other) for other in entries if other.label == entry.label]
        told = [f"{name}={value}" for name, value in _own_settings(entry).items() if _differs(name, alike)]
        labelled.append(replace(entry, label=" ".join([entry.label, *told])))
    twice = [label for label, number in Counter(entry.label for entry in labelled).items() if number > 1]
    if twice:
        raise ValueError(f"schemes must be each named once, got {', '.join(entry.label for entry in labelled)}")
    return labelled


def _differs(name: str, alike: Sequence[Mapping[str, Any]]) -> bool:
    return len({repr(settings.get(name)) for settings in alike}) > 1


def _own_settings(entry: Entry) -> dict[str, Any]:
    of_object = settings_of_scheme(entry.thing) if isinstance(entry.thing, Scheme) else {}
    return {**of_object, **entry.arguments, **entry.settings}


def _scheme_entry(given: Any) -> Entry:
    if isinstance(given, Scheme):
        return Entry(given.name, given)
    if isinstance(given, str):
        name, arguments = read_line(given, "scheme")
        return Entry(scheme_class(name).name, scheme_class(name), arguments)
    if not isinstance(given, Mapping):
        raise TypeError(f"schemes must be a list of schemes such as [VIMCO(5), WakeSleep()], got {given!r:.60} in it")
    rest = dict(given)
    thing, arguments = _taken(rest, "scheme", "a scheme"), rest.pop("arguments", {})
    thing = scheme_class(thing) if isinstance(thing, str) else thing
    return Entry(str(rest.pop("name", None) or thing.name), thing, arguments, rest)


def _made_scheme(
    entry: Entry, settings: Mapping[str, Any], training: Callable[..., Any]
) -> tuple[Scheme, dict[str, Any]]:
    """The scheme with those of the settings that are its own, and the others."""
    of_training = {*settings_of_training(training), "on_distribution"}
    rest = {name: value for name, value in settings.items() if name in of_training}
    if isinstance(entry.thing, Scheme):
        # one for each run: what it remembers of other machines is no setting, and they may still live
        scheme: Scheme = copy.copy(entry.thing)
        scheme.forget()
        return scheme, rest
    own = {name: value for name, value in settings.items() if name not in rest and takes(entry.thing, name)}
    known = {entry.label: entry.thing}
    scheme = made(entry.label, {**own, **entry.arguments}, known, "scheme", given={}, kind=Scheme)
    return scheme, rest


def _taken(rest: dict[str, Any], name: str, what: str) -> Any:
    if name not in rest:
        raise ValueError(f"{what} of the study has no {name!r}, only {', '.join(map(str, rest)) or 'nothing'}")
    return rest.pop(name)


def _listed(given: Any, what: str) -> list[Any]:
    is_one = isinstance(given, str | Mapping | Data | Scheme) or not isinstance(given, Iterable)
    if is_one or not list(given):
        raise ValueError(f"{what} must be a list of one or more, got {given!r:.60}")
    return list(given)
