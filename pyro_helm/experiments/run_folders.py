"""One run in its folder: trained, scored, and its outcome written last.

A folder ``STUDY/runs/DIGEST`` holds ``run.json`` from the beginning, what :func:`pyro_helm.fit` writes, ``scores`` and
``outcome.json``. A run that was ended before its outcome is resumed by the same call.
"""

from __future__ import annotations

import json
import platform
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pyro_helm.experiments.data_sets import data_of
from pyro_helm.experiments.run_plans import Run
from pyro_helm.experiments.scoring import final_scores
from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.runtime.tables import write_table
from pyro_helm.schemes import Intractable
from pyro_helm.training.fitting import fit
from pyro_helm.training.history import describe_machine
from pyro_helm.training.result import Result
from pyro_helm.training.run_folder import FolderInUse

RUNS, RUN_FILE, OUTCOME_FILE, SCORES = "runs", "run.json", "outcome.json", "scores"

Outcome = dict[str, Any]


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C while a run was trained; what it has learned is saved, and here."""

    def __init__(self, run: Run, result: Result) -> None:
        super().__init__()
        self.unfinished = run, result


def folder_of(run: Run, study: Path) -> Path:
    """A run's folder in a study's."""
    return study / RUNS / run.digest


def carried_out(run: Run, study: Path, *, raising: bool = False) -> Outcome:
    """Train and score a run in its folder, or go on where it was ended; what came of it.

    It computes in one thread, so that its numbers do not depend on who carries it out. An error is an outcome; one
    that is no fault of the run's, Ctrl-C, is raised; with ``raising``, so is every other but too many states. Where
    another process is at the same run, that is the outcome, and the folder is left to it.
    """
    folder = folder_of(run, study)
    try:
        known = outcome_in(folder)
        if known is not None and known["state"] in ("finished", "intractable"):
            return known
        folder.mkdir(parents=True, exist_ok=True)
        _write(_said(run), folder / RUN_FILE)
        with warnings.catch_warnings(record=True) as caught, one_thread():
            warnings.simplefilter("always", RuntimeWarning)
            outcome = _trained_and_scored(run, study, folder)
        outcome["warnings"] = [str(each.message) for each in caught if issubclass(each.category, RuntimeWarning)]
        _write(outcome, folder / OUTCOME_FILE)
    except Exception as error:  # whatever it is, it is this run's alone
        if raising and not isinstance(error, Intractable):
            raise
        if isinstance(error, FolderInUse):
            return _failure("in use", error)
        outcome = failed(run, study, error)
    return outcome


def failed(run: Run, study: Path, error: BaseException) -> Outcome:
    """The outcome of a run that came to nothing, noted in its folder."""
    outcome = _failure("intractable" if isinstance(error, Intractable) else "failed", error)
    # a disk may be full, and the run is to be resumed
    with suppress(OSError):
        _write(_said(run), folder_of(run, study) / RUN_FILE)
        _write(outcome, folder_of(run, study) / OUTCOME_FILE)
    return outcome


def _failure(state: str, error: BaseException) -> Outcome:
    kind = type(error).__name__
    why = str(error).strip() if isinstance(error, ValueError | OSError) and str(error).strip() else f"{kind}: {error}"
    trace = "".join(traceback.format_exception(error))
    return {"state": state, "why": " ".join(why.split()), "kind": kind, "traceback": trace, "warnings": []}


def warn_of(run: Run, outcome: Outcome) -> None:
    """Say what a run warned of, or why it came to nothing."""
    for text in outcome["warnings"]:
        warnings.warn(f"{run}: {text}", RuntimeWarning, stacklevel=2)
    if outcome["state"] != "finished":
        warnings.warn(f"{run}: {outcome['why']}", RuntimeWarning, stacklevel=2)


def outcome_in(folder: Path) -> Outcome | None:
    """What came of the run in a folder; None if it is waiting or was ended."""
    return read_json(folder / OUTCOME_FILE)


def is_over(outcome: Outcome | None) -> bool:
    """Whether there is nothing left to train."""
    return outcome is not None and outcome["state"] in ("finished", "intractable")


def read_json(path: Path) -> dict[str, Any] | None:
    """What a file says; None if there is none.

    Raises:
        ValueError: if it is no JSON.

    """
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; remove its folder to train this run anew") from error
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread; sums in several are rounded otherwise, and processes would take each other's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trained_and_scored(run: Run, study: Path, folder: Path) -> Outcome:
    result = trained(run, study, folder)
    if result.interrupted:
        raise TrainingInterrupted(run, result)
    if result.unsaved is not None:
        raise OSError(result.unsaved)
    if run.training is not fit:  # which may have stages, of which the folder has the last
        write_table(result.history, folder / "history")
    write_table(scored(run, study, result), folder / SCORES)
    last = result.history.iloc[-1]
    return {
        "state": "finished",
        "why": "",
        "seconds": float(last.seconds),
        "steps": int(last.epoch) * run.steps_per_epoch,
        "step": result.step,
        "restarts": len(result.summary),
        "failed_restarts": int(result.summary.failed.sum()),
        "machine": describe_machine(result.model),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("torch", "pyro-ppl", "numpy")}
        | {"python": platform.python_version()},
    }


def trained(run: Run, study: Path, folder: Path) -> Result:
    """The machine of a run, trained in its folder from where it is."""
    data = data_of(run.description["data"], study)
    seed, restarts = run.description["seed"], run.description["restarts"]
    model, guide = run.build(data.train.shape[1], seed=seed, restarts=restarts)
    cases: Any = data.distribution if run.description["on_distribution"] else data.train
    result: Result = run.training(
        model,
        guide,
        cases,
        scheme=run.objective,
        valid=data.valid,
        seed=seed,
        dataset=run.labels["dataset"],
        out=folder,
        resume=True,
        save_every=run.save_every,
        progress=False,
        **run.settings,
    )
    return result


def scored(run: Run, study: Path, result: Result) -> pd.DataFrame:
    """Final numbers of every restart, and what the run's own measure adds."""
    data = data_of(run.description["data"], study)
    seed = run.description["seed"]
    scores = final_scores(
        result.model, result.guide, data, failed=result.summary.failed.tolist(), seed=seed, **run.description["scores"]
    )
    if run.measure is None:
        return scores
    added: pd.DataFrame = run.measure(result.model, result.guide, data, seed=seed)
    return pd.concat([scores, added.assign(**{"split": "test", "warnings": ""} | dict(added))], ignore_index=True)


def _said(run: Run) -> dict[str, Any]:
    """What ``run.json`` says."""
    said = {"labels": dict(run.labels), "description": run.description}
    return said | {"steps_per_epoch": run.steps_per_epoch, "width": run.width}


def _write(content: Mapping[str, Any], path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))
