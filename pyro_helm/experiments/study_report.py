"""One page of HTML about a study, with everything inside: the answer, tables that sort, curves, machines, warnings."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from pyro_helm.experiments.choosing import chosen_if_any, missing_references
from pyro_helm.experiments.html_tables import PageTable, page_table
from pyro_helm.experiments.ranking import states_of
from pyro_helm.experiments.study import Study
from pyro_helm.experiments.study_answer import PLACE, headline, leaders, verdicts
from pyro_helm.experiments.study_figures import curve_pictures, if_possible, machine_pictures, sensitivity_pictures
from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.runtime.shown import counted, grouped_warnings

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "report.html"

HEADINGS = {
    "dataset": ("data set", ""),
    "log_likelihood": ("log p", "log-likelihood on test data, median over restarts, nats per datum"),
    "log_likelihood_stderr": ("± s.e.", "standard error of the median"),
    "log_likelihood_best": ("best", "log-likelihood of the best restart on test data"),
    "valid_log_likelihood": ("valid log p", "median over restarts on validation data, by which settings are chosen"),
    "elbo": ("bound", "median evidence lower bound on test data, nats per datum"),
    "difference": ("behind leader", "mean of paired differences on test data, nats per datum; below 0 is worse"),
    "interval": ("95 % interval", "of the difference, by Student's t over pairs of restarts"),
    "settings_tried": ("tried", "settings tried"),
    "ms_per_step": ("ms/step", "milliseconds per training step"),
    "seconds": ("s", "seconds of training"),
}


def report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write one page of HTML about a study.

    The answer comes first, then what it rests on.

    It loads nothing from elsewhere, and can be sent as it is. Figures of the best machines are drawn for the library's
    own classes; posteriors where they can be summed in a few seconds.

    Args:
        folder: of a study, or of several whose folders were copied together.
        out: file to write; None for ``report.html`` in the folder.

    Returns:
        the path of the page.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if there is no run in it.

    """
    study = Study.open(folder)
    path = Path(folder) / NAME if out is None else Path(out)
    text = page(study)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def page(study: Study) -> str:
    """The text of the page."""
    table, runs = study.table(), study.runs()
    chosen, why_not = chosen_if_any(table, study.varied)
    chosen = chosen.sort_values(PLACE, kind="stable", ignore_index=True)
    found = verdicts(study)
    curves, no_curves = if_possible("learning curves", lambda: [] if chosen.empty else curve_pictures(study, chosen))
    sensitivity, no_sensitivity = if_possible("settings", lambda: sensitivity_pictures(study, table))
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        files("pyro_helm.experiments").joinpath("study_report.html").read_text(encoding="utf-8")
    )
    return template.render(
        title=study.name or study.folder.resolve().name,
        question=study.question or "Which scheme is ahead, where, by how much, and how sure is that?",
        about=f"{states_of(runs, study.not_begun)}; {counted(runs.scheme.nunique(), 'scheme')}, "
        f"{runs.seconds.sum():.0f} s of training",
        headline=headline(found),
        verdicts=found,
        no_answer=f"There is no answer: {why_not}."
        if why_not
        else "No run is finished yet, so that there is no answer.",
        notes=[*_notes(study, runs, chosen), *no_curves, *no_sensitivity],
        counted=counted,
        chosen=_chosen_table(study, chosen),
        curves=curves,
        sensitivity=sensitivity,
        machines=machine_pictures(study, chosen, table),
        warnings=_warnings(table, runs),
        no_warnings=_no_warnings(table, _unfinished(study, runs)),
        code=_code(study, table),
        versions=_versions(runs),
        runs=_runs_table(study, runs),
        numbers=page_table(table.drop(columns="warnings", errors="ignore"), settings=[*study.varied, "steps", "epoch"]),
    )


def _chosen_table(study: Study, chosen: pd.DataFrame) -> PageTable:
    """Chosen settings, each with its paired difference from the leader."""
    if chosen.empty:
        return page_table(chosen, HEADINGS)
    leading = leaders(chosen)
    differences = pd.concat([study.differences(label) for label in leading.scheme.unique()])
    keys = [*PLACE, "scheme"]
    against = leading[[*PLACE, "scheme"]].rename(columns={"scheme": "against"})
    differences = differences.merge(against, on=[*PLACE, "against"])
    differences["interval"] = [f"[{low:.3f}, {high:.3f}]" if low == low else "" for low, high in
                               zip(differences.low, differences.high, strict=True)]  # fmt: skip
    rows = chosen.merge(differences[[*keys, "difference", "interval"]], on=keys, how="left")
    # on a telephone the first columns are seen: labels that are the same everywhere stand at the right
    differing = [name for name in PLACE if len(set(rows[name])) > 1]
    numbers = ["log_likelihood", "log_likelihood_stderr", "difference", "interval", "restarts", "failed"]
    first = [*differing, "scheme", *numbers, *study.varied]
    rows = rows[[*first, *(name for name in rows if name not in first)]]
    leads = rows[keys].apply(tuple, axis=1).isin(set(leading[keys].apply(tuple, axis=1)))
    return page_table(rows.dropna(axis=1, how="all"), HEADINGS, settings=study.varied, leads=leads)


def _runs_table(study: Study, runs: pd.DataFrame) -> PageTable:
    """All runs with every setting; folders as seen from the study's."""
    rows = runs.assign(folder=[_relative(study, folder) for folder in runs.folder])
    measured = ("seconds", "ms_per_step")
    return page_table(rows, HEADINGS, settings=[str(name) for name in rows if name not in measured])


def _unfinished(study: Study, runs: pd.DataFrame) -> int:
    """Runs that have not begun, or are under way."""
    return int((runs.state == "waiting").sum()) + study.not_begun


def _notes(study: Study, runs: pd.DataFrame, chosen: pd.DataFrame) -> list[str]:
    """What limits the answer: runs or a reference that are missing, and runs found twice with unlike results."""
    notes = missing_references(chosen, study.reference)
    unfinished = _unfinished(study, runs)
    if unfinished:
        notes.append(f"{unfinished} of {len(runs) + study.not_begun} runs are not finished: the answer may change")
    conflicts = study.conflicts()
    if len(conflicts):
        notes.append(f"{len(conflicts)} runs were found twice with unlike results, such as {conflicts.run.iloc[0]}")
    return notes


def _warnings(table: pd.DataFrame, runs: pd.DataFrame) -> list[dict[str, str]]:
    """Warnings of the likelihoods by run, and runs that failed, with why."""
    found = [
        {"whose": f"run {run.run} ({run.dataset}, {run.machine}, {run.scheme}) {run.state}", "text": str(run.why)}
        for run in runs[runs.state.isin(["failed", "intractable"])].itertuples()
    ]
    rows = table[(table.metric == "log_likelihood") & table.warnings.fillna("").astype(bool)]
    for (run, split), group in rows.groupby(["run", "split"], sort=False):
        first = group.iloc[0]
        pairs: Iterable[tuple[Any, str]] = zip(group.restart, group.warnings, strict=True)
        found.append({
            "whose": f"run {run} ({first.dataset}, {first.machine}, {first.scheme}) on {split} data",
            "text": "; ".join(grouped_warnings(pairs)),
        })  # fmt: skip
    return found


def _no_warnings(table: pd.DataFrame, unfinished: int) -> str:
    """What stands in the place of warnings where there are none."""
    if table.empty:
        return "None: no run has been scored yet."
    rest = "every run is finished" if not unfinished else f"{counted(unfinished, 'run')} not finished yet"
    return f"None: every log-likelihood passed its checks; {rest}."


def _code(study: Study, table: pd.DataFrame) -> str:
    """Python that scores a run of the study again."""
    run = "DIGEST" if table.empty else str(table.run.iloc[0])
    return (
        f"import pyro_helm as helm\n\nstudy = helm.Study.open({str(study.folder)!r})\n"
        f"model, guide = study.machine({run!r})\ndata = study.data({run!r})\n"
        "print(helm.log_likelihood(model, guide, data.test))  # on the exact distribution where there is one\n"
        f"print(study.runs().set_index('run').loc[{run!r}])  # every setting"
    )


def _versions(runs: pd.DataFrame) -> str:
    """Versions that made the runs, as their outcomes say."""
    said = set()
    for folder in runs.folder:
        outcome = Path(folder) / "outcome.json"
        if outcome.is_file():
            versions = json.loads(outcome.read_text()).get("versions", {})
            said.add(", ".join(f"{name} {version}" for name, version in versions.items()))
    return "; or ".join(sorted(said - {""}))


def _relative(study: Study, folder: Any) -> str:
    path = Path(str(folder))
    return str(path.relative_to(study.folder)) if path.is_relative_to(study.folder) else str(path)
