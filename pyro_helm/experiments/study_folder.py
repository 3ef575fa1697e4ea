"""What a study keeps in its folder beside the runs: what it asks, and its tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pyro_helm.experiments.choosing import chosen_if_any, paired_by_restart
from pyro_helm.experiments.run_folders import read_json
from pyro_helm.experiments.run_plans import Run
from pyro_helm.experiments.study_tables import RunFolder, final_table, runs_table, varied_settings
from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.runtime.tables import write_table
from pyro_helm.training.run_folder import STUDY

STUDY_FILE = STUDY
_SAID = ("name", "question", "reference")


def keep_plan(folder: Path, plan: Sequence[Run], name: str, question: str, reference: str) -> None:
    """Keep what the study is called, what it asks, and which runs it has."""
    said = dict(zip(_SAID, (name, question, reference), strict=True))
    with atomic_path(folder / STUDY_FILE) as path:
        path.write_text(json.dumps(said | {"runs": [run.digest for run in plan]}, indent=1))


def planned_runs(folder: Path) -> set[str]:
    """Digests of the runs asked for last, by any study below a folder."""
    return {run for file in folder.rglob(STUDY_FILE) for run in (read_json(file) or {}).get("runs", [])}


def kept_words(folder: Path) -> tuple[str, str, str]:
    """Name, question and reference of the study in a folder; empty where nothing is said."""
    said = read_json(folder / STUDY_FILE) or {}
    name, question, reference = (str(said.get(key, "")) for key in _SAID)
    return name, question, reference


def write_tables(folder: Path, runs: Sequence[RunFolder], reference: str) -> None:
    """Write ``table`` and ``runs``, and where a setting can be chosen ``chosen`` and ``differences``."""
    names, table = varied_settings(runs), final_table(runs)
    write_table(table, folder / "table")
    tables = {"runs": runs_table(runs)}
    chosen, why_not = chosen_if_any(table, names)
    if not why_not:
        tables |= {"chosen": chosen, "differences": paired_by_restart(table, chosen, names, reference)}
    for name, each in tables.items():
        with atomic_path(folder / f"{name}.csv") as path:
            each.to_csv(path, index=False)
