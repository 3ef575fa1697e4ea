"""Tables of a study, read from the folders of its runs: every number, the settings chosen, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyro_helm.experiments.digests import digest_of
from pyro_helm.experiments.run_folders import RUN_FILE, SCORES, Outcome, outcome_in, read_json
from pyro_helm.experiments.run_plans import columns_of, columns_of_all, varied

GROUP = ["dataset", "machine", "budget"]
"""Within which schemes are compared."""

LABELS = ["run", "dataset", "machine", "model", "imaging", "sizes", "scheme", "budget"]
NUMBERS = ["epoch", "steps", "seconds"]
_FINAL = ["seed", "restart", "split", "metric", "value", "stderr", "warnings", *NUMBERS]
_HISTORY = ["seed", "restart", "split", "metric", "value", "stderr", *NUMBERS]


@dataclass(frozen=True)
class RunFolder:
    """A run as it is found on disk."""

    path: Path
    labels: dict[str, str]
    description: dict[str, Any]
    steps_per_epoch: int
    outcome: Outcome | None

    @cached_property
    def digest(self) -> str:
        """Of what decides its numbers."""
        return digest_of(self.description)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every setting, as a column of tables."""
        return columns_of(self.description)

    @property
    def state(self) -> str:
        """``"finished"``, ``"failed"``, ``"intractable"`` or ``"waiting"``."""
        return "waiting" if self.outcome is None else str(self.outcome["state"])

    def columns(self, names: Sequence[str]) -> dict[str, Any]:
        """Labels and those settings, for each row of a table."""
        machine = {} if self.outcome is None else self.outcome.get("machine", {})
        rule = self.description["machine"].get("imaging")
        machine = ({"imaging": rule} if isinstance(rule, str) else {}) | machine
        known = {"run": self.digest, **machine, **self.labels, **{name: self.settings.get(name) for name in names}}
        return {name: known.get(name, "") for name in (*LABELS, *names)} | {"seed": self.description["seed"]}


def found_runs(folder: Path, asked: Sequence[str] = ()) -> tuple[list[RunFolder], list[tuple[RunFolder, RunFolder]]]:
    """Runs below a folder, at any depth, and those that are there twice; of digests that are asked, in their order."""
    runs: dict[str, RunFolder] = {}
    twice = []
    for path in sorted(folder.rglob(RUN_FILE)):
        said = read_json(path)
        if said is None:
            continue
        run = RunFolder(
            path.parent, said["labels"], said["description"], said["steps_per_epoch"], outcome_in(path.parent)
        )
        first = runs.setdefault(run.digest, run)
        if first is not run:
            twice.append((first, run))
            if first.state != "finished" and run.state == "finished":
                runs[run.digest] = run
    return [runs[digest] for digest in asked or runs if digest in runs], twice


def varied_settings(runs: Sequence[RunFolder]) -> list[str]:
    """Names of the settings that differ between runs."""
    return varied(columns_of_all([run.description for run in runs]), [tuple(run.labels.values()) for run in runs])


def runs_table(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """One row per run: labels, every setting, what came of it."""
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    rows = []
    for run in runs:
        outcome = run.outcome or {}
        seconds, steps = outcome.get("seconds"), outcome.get("steps")
        rows.append(
            {name: value for name, value in run.columns(names).items() if name not in ("model", "sizes")}
            | {
                "restarts": run.description["restarts"],
                "state": run.state,
                "why": outcome.get("why", ""),
                "failed_restarts": outcome.get("failed_restarts"),
                "seconds": seconds,
                "steps": steps,
                "ms_per_step": 1000 * seconds / steps if seconds and steps else None,
                "folder": str(run.path),
            }
        )
    return pd.DataFrame(rows)


def final_table(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """Final numbers of the finished runs, tidy."""
    names = varied_settings(runs)
    parts = []
    for run in runs:
        if run.outcome is not None and run.state == "finished":
            steps, seconds = run.outcome["steps"], run.outcome["seconds"]
            numbers = {"epoch": steps // run.steps_per_epoch, "steps": steps, "seconds": seconds}
            parts.append(_kept(run, f"{SCORES}.parquet").assign(**run.columns(names), **numbers))
    return _put_together(parts, [*LABELS, *names, *_FINAL])


def history_table(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """Learning curves of all runs that have any, tidy."""
    names = varied_settings(runs)
    parts = []
    for run in runs:
        path = run.path / "history.parquet"
        if path.is_file():
            table = _kept(run, path.name)
            kept = {name: value for name, value in run.columns(names).items() if value != "" or name not in table}
            split = table.metric.str.partition("_")[0]
            parts.append(table.assign(**kept, split=split, steps=table.epoch * run.steps_per_epoch))
    return _put_together(parts, [*LABELS, *names, *_HISTORY])


def _kept(run: RunFolder, name: str) -> pd.DataFrame:
    """A table of a run; ValueError for a file that is damaged."""
    try:
        return pd.read_parquet(run.path / name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{run.path / name} is damaged or missing; remove its folder to train this run anew"
        ) from error


def _put_together(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    if not parts:
        return pd.DataFrame(columns=columns)
    parts = [part.reindex(columns=columns).astype({"stderr": float}) for part in parts]
    return pd.concat(parts, ignore_index=True)


def conflicts_table(twice: Sequence[tuple[RunFolder, RunFolder]]) -> pd.DataFrame:
    """Runs that are there twice with unlike numbers."""
    rows = []
    for one, other in twice:
        if one.state == other.state == "finished":
            ours, theirs = (_kept(run, f"{SCORES}.parquet") for run in (one, other))
            if not ours.equals(theirs):
                rows.append(
                    {"run": one.digest, "folder": str(one.path), "other": str(other.path)}
                    | {"what": _unlike(ours, theirs)}
                )
    return pd.DataFrame(rows, columns=["run", "folder", "other", "what"])


def _unlike(ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    if len(ours) != len(theirs):
        return f"{len(ours)} and {len(theirs)} numbers"
    differ = ~((ours.value == theirs.value) | (ours.value.isna() & theirs.value.isna()))
    if not differ.any():
        return "errors or warnings of the same numbers"
    row = ours[differ].iloc[0]
    return (
        f"{int(differ.sum())} of {len(ours)} numbers, the first {row.metric} of restart {row.restart}: "
        f"{row.value:.6g} and {theirs.value[differ].iloc[0]:.6g}"
    )


def wide_table(table: pd.DataFrame, split: str, names: Sequence[str]) -> pd.DataFrame:
    """One row per run and restart, the metrics on a split as columns."""
    index = ["run", *GROUP, "scheme", *names, "seed", "restart", *NUMBERS]
    wide = table[table.split == split].set_index([*index, "metric"]).value.unstack("metric").reset_index()
    missing = {metric: np.nan for metric in ("elbo", "log_likelihood", "failed") if metric not in wide}
    return wide.assign(**missing)
