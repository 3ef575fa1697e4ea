"""The pictures of a study's report, each inside the page as a data URI."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pyro_helm.experiments import plots
from pyro_helm.experiments.plots.curves import METRICS
from pyro_helm.experiments.report import dreams
from pyro_helm.experiments.study_answer import PLACE, leaders
from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods import exact_posterior
from pyro_helm.models import BeliefNetwork

if TYPE_CHECKING:
    from pyro_helm.data.sets import Data
    from pyro_helm.experiments.study import Study

CASES, DREAMS, POSTERIORS = 10, 20, 2
MAX_TERMS = 2**22
"""Sums of a posterior beyond which a report leaves it out."""


class Picture(NamedTuple):
    """A figure as a data URI, what it shows, and whether it needs the whole width of a page."""

    uri: str
    caption: str
    is_wide: bool = False


class Machine(NamedTuple):
    """The best machine for a data set: its pictures, and why others are missing."""

    title: str
    notes: list[str]
    figures: list[Picture]


def in_words(labels: Iterable[object]) -> str:
    """Data set, machine and budget, separated by commas."""
    return ", ".join(str(label) for label in labels if label)


def picture(figure: Figure, caption: str, *, is_wide: bool = False) -> Picture:
    """A figure at 110 dots per inch; the same figure makes the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return Picture(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", caption, is_wide)


def if_possible(what: str, draw: Callable[[], list[Picture]]) -> tuple[list[Picture], list[str]]:
    """Pictures, or why there are none: whatever the error is, it costs pictures and not the page."""
    try:
        return draw(), []
    except Exception as error:
        reason = error if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: {error}"
        return [], [f"Left out: {what}. The reason: {reason}."]


def curve_pictures(study: Study, chosen: pd.DataFrame) -> list[Picture]:
    """Learning curves of the chosen settings, over steps and over seconds, a picture of each place."""
    history = study.history()
    found = []
    for labels, group in chosen.groupby(PLACE):
        runs = [run for runs in group.runs for run in str(runs).split()]
        rows = history[history.run.isin(runs) & np.isfinite(history.value.astype(float))]
        # what is validated tells more than what is trained on
        metric = next((name for name in METRICS if (rows.metric == name).any()), None)
        if metric is None:
            continue
        distribution = study.data(runs[0]).distribution
        ceilings = {} if distribution is None else {group.dataset.iloc[0]: -distribution.entropy}
        for by, words in (("steps", "training steps"), ("seconds", "seconds of training steps")):
            figure = plots.learning_curves(
                rows.assign(sizes=rows.budget, imaging=rows.machine), metric=metric, by=by, ceilings=ceilings
            )
            found.append(picture(figure, f"{in_words(labels)}: {METRICS[metric]} over {words}"))
    return found


def sensitivity_pictures(study: Study, table: pd.DataFrame) -> list[Picture]:
    """For each setting of which a scheme tried several values, a picture of each data set, machine and budget."""
    valid = table[(table.split == "valid") & (table.metric == "log_likelihood") & np.isfinite(table.value)]
    found = []
    for name in sorted(study.varied, key=lambda name: name != "learning_rate"):
        for labels, group in valid.groupby(PLACE):
            if group.groupby("scheme")[name].nunique(dropna=False).max() > 1:
                figure = plots.setting_sensitivity(group, name, others=study.varied)
                words = name.replace("_", " ")
                found.append(picture(figure, f"{in_words(labels)}: over the {words}; a ring marks each scheme's best"))
    return found


def machine_pictures(study: Study, chosen: pd.DataFrame, table: pd.DataFrame) -> list[Machine]:
    """The best machine of every data set, machine and budget: weights, dreams, reconstructions, posteriors."""
    if chosen.empty:
        return []
    return [_machine(study, lead, table) for lead in leaders(chosen).to_dict("records")]


def _machine(study: Study, lead: dict[object, object], table: pd.DataFrame) -> Machine:
    place = in_words(lead[name] for name in PLACE)
    run, restart, value = best_restart(table, str(lead["runs"]).split())
    title = f"{place}: {lead['scheme']}, restart {restart} of run {run}, {value:.3f} nats per datum"
    try:
        model, guide = study.machine(run)
    except Exception as error:  # whatever it is, the page is to be written
        return Machine(title, [f"Not drawn: the machine can't be loaded. The reason: {error}."], [])
    if not isinstance(model, BeliefNetwork) or not isinstance(guide, FactorialRecognition):
        return Machine(title, ["Not drawn: it is not a BeliefNetwork with a FactorialRecognition."], [])
    return Machine(title, *_pictures(model, guide, study.data(run), restart))


def best_restart(table: pd.DataFrame, runs: list[str]) -> tuple[str, int, float]:
    """Run, restart and value of the best log-likelihood on validation data, or on test data where there is none."""
    rows = table[table.run.isin(runs) & (table.metric == "log_likelihood")]
    split = "valid" if (rows.split == "valid").any() else "test"
    best = rows[rows.split == split].sort_values("value", ascending=False).iloc[0]
    return str(best.run), int(best.restart), float(best.value)


def _pictures(
    model: BeliefNetwork, guide: FactorialRecognition, data: Data, restart: int
) -> tuple[list[str], list[Picture]]:
    """What can be drawn of a restart, and of what can't be, why: not every machine dreams or is summed unasked."""
    notes: list[str] = []
    found: list[Picture] = []
    kinds = {"weights": _weights, "dreams": _dreams, "reconstructions": _kept, "posterior": _posteriors}
    for what, drawn in kinds.items():
        pictures, reasons = if_possible(what, partial(drawn, model, guide, data, restart))
        found += pictures
        notes += reasons
    return notes, found


def _weights(model: BeliefNetwork, guide: FactorialRecognition, data: Data, restart: int) -> list[Picture]:
    figure = plots.weight_diagram(model, guide, restart=restart, image_shape=data.image_shape)
    return [picture(figure, "what it has learned", is_wide=True)]


def _dreams(model: BeliefNetwork, guide: FactorialRecognition, data: Data, restart: int) -> list[Picture]:
    sheet = {"data": data.test[:DREAMS], "dreams": dreams(model, restart=restart, seed=0, number=DREAMS)}
    return [picture(plots.dream_sheet(sheet, image_shape=_shape(data)), "test cases, and dreams of the machine")]


def _kept(model: BeliefNetwork, guide: FactorialRecognition, data: Data, restart: int) -> list[Picture]:
    figure = plots.reconstruction_sheet(model, guide, data.test[:CASES], image_shape=_shape(data), restart=restart)
    return [picture(figure, "test cases, and what the machine keeps of them")]


def _posteriors(model: BeliefNetwork, guide: FactorialRecognition, data: Data, restart: int) -> list[Picture]:
    cases = data.test[:POSTERIORS]
    posterior = exact_posterior(model, guide, cases, max_terms=MAX_TERMS)
    return [
        picture(
            plots.posterior_chart(posterior, guide, datum=datum, restart=restart, image_shape=data.image_shape),
            f"test case {datum}: the exact posterior beside recognition",
        )
        for datum in range(len(cases))
    ]


def _shape(data: Data) -> tuple[int, int]:
    return data.image_shape or (1, data.test.shape[-1])
