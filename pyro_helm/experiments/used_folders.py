"""Folders that hold results already: gone on with where they are the same, refused where they would be lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyro_helm.experiments.run_folders import read_json
from pyro_helm.experiments.run_plans import Run, columns_of
from pyro_helm.experiments.study_folder import STUDY_FILE
from pyro_helm.experiments.study_tables import RunFolder, found_runs
from pyro_helm.runtime.shown import listed


def check_goes_on(folder: Path, plan: Sequence[Run]) -> None:
    """Refuse a comparison in the folder of one of which it would leave runs out, as its tables replace the others.

    More schemes and machines beside those that are there are welcome.

    Raises:
        ValueError: with the runs that are there, or the settings that differ.

    """
    asked = {run.digest: run for run in plan}
    known = (read_json(folder / STUDY_FILE) or {}).get("runs", [])
    left_out = [run for run in found_runs(folder, known)[0] if run.digest not in asked] if known else []
    if not left_out:
        return
    for run in left_out:
        for other in plan:
            if (run.labels["machine"], run.labels["scheme"]) == (other.labels["machine"], other.labels["scheme"]):
                raise ValueError(
                    f"out={str(folder)!r} holds a comparison with other settings ({_differences(run, other)}); choose "
                    "another out"
                )
    names = listed([f"{run.labels['machine']} {run.labels['scheme']}" for run in left_out])
    raise ValueError(
        f"out={str(folder)!r} holds a comparison with {names}, which this one leaves out; ask for these too, or choose "
        "another out"
    )


def check_is_this_study(folder: Path, plan: Sequence[Run], name: str) -> None:
    """Refuse the folder of another study or of a comparison, of which no run is asked for; one that grows goes on.

    Raises:
        ValueError: with what is there.

    """
    said = read_json(folder / STUDY_FILE) or {}
    known = set(said.get("runs", []))
    if not known or not known.isdisjoint(run.digest for run in plan):
        return
    is_comparison = (folder / "results.csv").exists()
    if is_comparison or said.get("name", "") != name:
        what = "a comparison" if is_comparison else f"the study {said.get('name') or 'without a name'!r}"
        raise ValueError(f"out={str(folder)!r} holds {what}, of which no run is asked for; choose another out")


def _differences(there: RunFolder, here: Run) -> str:
    before, now = _settings(there.description, there.labels), _settings(here.description, here.labels)
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name}: {before.get(name)} there, {now.get(name)} here" for name in names[:3])


def _settings(description: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    own = {"restarts": description["restarts"], "seed": description["seed"], "budget": labels["budget"]}
    return {"dataset": labels["dataset"], "sizes": description["machine"].get("sizes")} | own | columns_of(description)
