"""``compare``: the smallest study, of one data set and one setting."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import signature
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import pandas as pd
import torch

from pyro_helm.data.sets import Data
from pyro_helm.experiments.machines import GUIDE, MODEL, belief_network, machine_of
from pyro_helm.experiments.ranking import ranking_card
from pyro_helm.experiments.run_folders import Outcome, scored
from pyro_helm.experiments.run_plans import Run
from pyro_helm.experiments.scheme_settings import scheme_of
from pyro_helm.experiments.study import Study
from pyro_helm.experiments.summaries import summarise
from pyro_helm.experiments.used_folders import check_goes_on
from pyro_helm.programs.layered import checked_sizes
from pyro_helm.runtime.arguments import at_least_one, checked_seed
from pyro_helm.runtime.shown import Card, Shown
from pyro_helm.runtime.tables import COLUMNS, tidy, write_table
from pyro_helm.schemes import Intractable, Scheme
from pyro_helm.training.checks import check_can_observe, made_folder
from pyro_helm.training.fitting import fit
from pyro_helm.training.schedules import Schedule

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Training(TypedDict, total=False):
    """Settings of :func:`pyro_helm.fit` that :func:`compare` hands to it."""

    num_epochs: int
    max_seconds: float | None
    batch_size: int | None
    optimizer: Callable[..., torch.optim.Optimizer]
    learning_rate: float | None
    schedule: str | Schedule | None
    max_gradient_norm: float | None
    average: float | None
    patience: int | None
    valid_samples: int
    step: str | None
    device: torch.device | str | None
    dtype: torch.dtype | None
    save_every: float


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """What a comparison measured.

    Attributes:
        table: tidy frame with the columns of :data:`pyro_helm.runtime.tables.COLUMNS`, and of settings that differ
            between its runs: the history of every machine, and after its training the metrics ``elbo``,
            ``log_likelihood`` (nats per datum, on the exact distribution where the data set has one, else on its test
            cases) and ``failed`` (0 or 1) of every restart.
        summary: one row per scheme and imaging model, best first; see :func:`summarise`.
        interrupted: whether Ctrl-C ended it early.
        runs: one row per scheme and imaging model, with the ``folder`` of its machine; see :meth:`Study.runs`.

    """

    table: pd.DataFrame
    summary: pd.DataFrame
    interrupted: bool
    runs: pd.DataFrame

    def _card(self) -> Card:
        return ranking_card(self.summary, interrupted=self.interrupted)


def compare(
    data: Data,
    *,
    schemes: Sequence[Scheme | str],
    sizes: Sequence[int] | None = None,
    imaging: str | Sequence[str] | None = None,
    model: str | Sequence[str] = MODEL,
    guide: str | Sequence[str] = GUIDE,
    fixed_leak: float | None = None,
    restarts: int = 8,
    num_samples: int = 1000,
    seed: int = 0,
    out: str | Path | None = None,
    workers: int = 1,
    progress: bool = True,
    **training: Unpack[Training],
) -> Comparison:
    """Train machines with every scheme, imaging model, model and guide.

    It is a :class:`Study` of one data set and one setting: with ``out``, the same call goes on where it was ended.
    Machines of one kind start from the same initial values under every scheme. Ctrl-C ends the comparison
    with what there is. A scheme for which the machines have too many states is left out with a warning.

    Args:
        data: data set with ``train``, ``valid`` and ``test``.
        schemes: inference schemes, no two the same; objects, or lines such as ``"vimco num_particles=5"`` and
            ``"my_file:MyScheme"``.
        sizes: units per layer, bottom to top; the first must be the width of the data. None for models of your own
            that need none.
        imaging: imaging models, one or several; None for the model's own choice, sigmoid.
        model: a line, or several, with the name of a model and its settings, as ``"belief_network lateral=true"``, or
            of a class or function of your own, ``"my_file:MyModel hidden=20"``. It is made with ``sizes``,
            ``restarts`` and ``seed``, as far as it takes them.
        guide: likewise, as ``"lateral_recognition iterations=5"``; ``"none"`` for schemes that need no guide.
        fixed_leak: as for :class:`BeliefNetwork`.
        restarts: machines per scheme and imaging model.
        num_samples: importance samples per datum of the final log-likelihoods.
        seed: of initial values, minibatches and draws.
        out: folder for ``results.parquet``, ``results.csv`` and the runs, see :class:`Study`; None keeps none of it.
            One that holds a comparison is gone on with if all of its runs are asked for again, and more may be.
        workers: processes of one thread that train at once; the numbers are the same.
        progress: show a bar, or lines now and then, on standard error.
        training: further arguments of :func:`pyro_helm.fit`; a scheme whose steps can't be captured takes eager ones.

    Raises:
        ValueError: for settings out of range, or schemes, models, guides or imaging models that are none, can't be
            made, or are named twice; for a folder with results that this comparison leaves out.
        Intractable: if that leaves no scheme.

    >>> data = load_data("digits")
    >>> schemes = [WakeSleep(), ReweightedWakeSleep(5)]
    >>> settings = {"restarts": 2, "num_epochs": 1, "num_samples": 10, "progress": False}
    >>> sorted(compare(data, schemes=schemes, sizes=(64, 8), **settings).summary.scheme)
    ['reweighted_wake_sleep', 'wake_sleep']
    """
    rules = [None] if imaging is None else _checked_names("imaging", "imaging models", imaging)
    models, guides = _checked_names("model", "models", model), _checked_names("guide", "guides", guide)
    chosen = _checked_schemes(schemes)
    if not isinstance(data, Data):
        raise TypeError(f"data must be a data set, such as load_data('digits') gives, got {data!r:.60}")
    settings: dict[str, Any] = _checked_settings(training)
    num_samples, seed = at_least_one("num_samples", num_samples), checked_seed(seed)
    sizes, restarts = _checked_sizes(sizes, restarts, models, data)
    machines = []
    for rule, one_model, one_guide in product(rules, models, guides):
        entry = _machine(sizes, rule, one_model, one_guide, fixed_leak)
        # what is no machine, and data that it can't observe, are refused before a training
        made, _ = entry["machine"](data.train.shape[1], seed=seed, restarts=restarts, **entry["arguments"])
        check_can_observe(made, {"x": data.train}, "data", settings.get("batch_size"))
        machines.append(entry)
    folder: AbstractContextManager[Any] = (
        tempfile.TemporaryDirectory() if out is None else nullcontext(made_folder(out))
    )
    with folder as path:
        study = Study(
            path,
            datasets=[data],
            machines=machines,
            schemes=chosen,
            budget={"num_epochs": settings.pop("num_epochs", 50), "max_seconds": settings.pop("max_seconds", None)},
            save_every=settings.pop("save_every", 60.0),
            settings=settings,
            restarts=restarts,
            seeds=[seed],
            scores={"num_samples": num_samples, "splits": ["test"]},
        )
        check_goes_on(study.folder, study.plan)
        study.carry_out(workers, progress=progress, raising=workers == 1, on_done=_warn)
        return _compared(study, None if out is None else Path(path))


def _compared(study: Study, out: Path | None) -> Comparison:
    """What a study has measured, as a comparison; refuse one in which nothing could be trained."""
    runs = study.runs()
    table = _table(study)
    for row in runs.itertuples():
        if row.state == "failed":
            raise RuntimeError(f"{row.machine} {row.scheme}: {row.why}")
    if table.empty and not study.interrupted:
        raise Intractable(runs.why.iloc[-1])
    if out is not None and not table.empty:
        write_table(table, out / "results")
    return Comparison(table, summarise(table), study.interrupted is not None, runs)


def _warn(run: Run, outcome: Outcome) -> None:
    """Say what a run warned of, or that it is left out."""
    scheme = run.labels["scheme"]
    said = [f"{scheme}: {text}" for text in outcome["warnings"]]
    said += [f"{scheme} is left out: {outcome['why']}"] if outcome["state"] == "intractable" else []
    for text in said:
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def _table(study: Study) -> pd.DataFrame:
    """The history and the final numbers of every run, those of an interrupted training too."""
    history, final = study.history(), study.table()
    if study.unfinished is not None:
        run, result = study.unfinished
        if len(result.history):
            last = result.history.iloc[-1].drop(["restart", "metric", "value", "stderr"])
            scores = scored(run, study.folder, result).assign(run=run.digest)
            scores[list(last.index)] = list(last)
            final = pd.concat([final, scores], ignore_index=True) if len(final) else scores
    parts = [part[part.run == run] for run in dict.fromkeys(final.run) for part in (history, final)]
    if not parts:
        return tidy([])
    columns = [*COLUMNS, *study.varied]
    whole: pd.DataFrame = pd.concat([part.reindex(columns=columns) for part in parts], ignore_index=True)
    return whole


def _machine(
    sizes: Sequence[int], imaging: str | None, model: str, guide: str, fixed_leak: float | None
) -> dict[str, Any]:
    """Entry of a study for one of the machines that are compared."""
    arguments = {"sizes": list(sizes), "imaging": imaging, "fixed_leak": fixed_leak}
    if (model, guide) == (MODEL, GUIDE):
        rule = imaging or "sigmoid"
        return {"machine": belief_network, "name": rule, "arguments": arguments | {"imaging": rule}}
    parts = [imaging, *([] if model == MODEL else [model]), *([] if guide == GUIDE else [guide])]
    arguments |= {"model": model, "guide": guide}
    return {"machine": machine_of, "name": " ".join(filter(None, parts)), "arguments": arguments}


def _checked_sizes(
    sizes: Sequence[int] | None, restarts: int, models: Sequence[str], data: Data
) -> tuple[tuple[int, ...], int]:
    if sizes is not None:
        return checked_sizes(sizes, restarts)
    for model in models:
        if ":" not in model.partition(" ")[0]:
            raise ValueError(f"sizes are missing; {model} needs its units per layer, as ({data.train.shape[1]}, 8)")
    return (data.train.shape[1],), at_least_one("restarts", restarts)


def _checked_names(argument: str, what: str, given: Any) -> list[str]:
    is_several = isinstance(given, Iterable) and not isinstance(given, str)
    names = list(given) if is_several else [given]
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument} must be a name, or several, got {given!r:.60}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{what} to compare must be one or more, each named once; got {', '.join(names) or 'none'}")
    return names


def _checked_schemes(schemes: Any) -> list[Scheme]:
    expected = "schemes must be a list of schemes such as [VIMCO(5), WakeSleep()]"
    if isinstance(schemes, (str, Scheme)) or not isinstance(schemes, Iterable):
        raise TypeError(f"{expected}, got {schemes!r}")
    chosen = [scheme_of(scheme) if isinstance(scheme, str) else scheme for scheme in schemes]
    for scheme in chosen:
        if not isinstance(scheme, Scheme):
            raise TypeError(f"{expected}, got {scheme!r} in it")
    if not chosen:
        raise ValueError("schemes to compare must be one or more, each named once; got none")
    return chosen


def _checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse what fit does not take, or compare gives it."""
    known = [name for name in signature(fit).parameters if name in Training.__annotations__]
    for name in settings:
        if name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise TypeError(f"compare takes no setting {name!r}{hint} Those that it hands to fit: {', '.join(known)}")
    return dict(settings)
