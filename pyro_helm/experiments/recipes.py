"""How the machine of a run is made anew where a file alone can't say it: of the user's own models and guides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pyro_helm.experiments.machines import Builder, builder_of, machine_of
from pyro_helm.experiments.own_names import is_own_name
from pyro_helm.experiments.run_folders import RUN_FILE, read_json
from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.runtime.paths import expanded
from pyro_helm.training.checkpoint import load
from pyro_helm.training.manifest import described

RECIPE_FILE = "recipe.json"


def load_machine(folder: str | Path) -> tuple[Any, Any]:
    """The model and guide of a run of the command line or of a study, also those named ``module:name``.

    Raises:
        FileNotFoundError: if there is no machine.
        ValueError: if the user's own parts can't be found or made, or differ from what was trained.

    """
    path = expanded(folder)
    said = (read_json(path / RUN_FILE) or read_json(path / RECIPE_FILE)) if path.is_dir() else None
    build = None if said is None else described_builder(said["description"]["machine"])
    if said is None or build is None or "width" not in said:
        return load(folder)
    how = {name: said["description"][name] for name in ("seed", "restarts")}
    return load(folder, *build(said["width"], **how))


def described_builder(machine: Mapping[str, Any]) -> Builder | None:
    """What builds the machine that a description says; None if it names no parts, or a function of a script."""
    arguments = {name: value for name, value in machine.items() if name not in ("machine", "code")}
    thing = machine["machine"]
    if thing == described(machine_of):
        return partial(machine_of, **arguments)
    return builder_of(thing, arguments) if is_own_name(thing) or {"model", "guide"} & arguments.keys() else None


def keep_recipe(folder: Path, arguments: Mapping[str, Any], *, width: int, seed: int, restarts: int) -> None:
    """Keep beside a machine how it was made: the arguments of :func:`machine_of`."""
    machine = {"machine": described(machine_of), **arguments}
    said = {"width": width, "description": {"machine": machine, "seed": seed, "restarts": restarts}}
    with atomic_path(folder / RECIPE_FILE) as path:
        path.write_text(json.dumps(said, indent=1))
