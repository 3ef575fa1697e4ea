"""``fit_in_stages``: layer by layer, or by one scheme after another."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from pyro_helm.data.named_observations import DataLike
from pyro_helm.programs.lower_layers import lowest_layers, put_back
from pyro_helm.runtime.arguments import at_least_one, is_whole, positive
from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.runtime.suggestions import unknown
from pyro_helm.schemes import Scheme
from pyro_helm.training.checkpoint import load, save
from pyro_helm.training.checks import check_step, made_folder
from pyro_helm.training.fitting import fit
from pyro_helm.training.manifest import described
from pyro_helm.training.result import Result
from pyro_helm.training.run_folder import CONFIG, forget_run
from pyro_helm.training.schedules import Schedule
from pyro_helm.training.settings import Settings

_FILE, _INITIAL = "stages.json", "initial.safetensors"


@dataclass(frozen=True)
class Stage:
    """A stretch of a training, for :func:`pyro_helm.fit_in_stages`.

    Args:
        scheme: inference scheme.
        num_epochs: passes over the data.
        layers: how many of the lowest layers are trained, the visible one included, as a machine of their own; None for
            all.
        learning_rate: as for :func:`pyro_helm.fit`; None for that of all stages.
        schedule: likewise.
        step: likewise; so one stage may be compiled where the scheme of another can't be.

    """

    scheme: Scheme
    num_epochs: int = 50
    layers: int | None = None
    learning_rate: float | None = None
    schedule: str | Schedule | None = None
    step: str | None = None

    def __repr__(self) -> str:
        """The call that makes it: what differs from its defaults."""
        shown = [f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if
                 getattr(self, each.name) != each.default]  # fmt: skip
        return f"Stage({', '.join(shown)})"


def fit_in_stages(
    model: nn.Module,
    guide: nn.Module | None,
    data: DataLike,
    *,
    stages: Sequence[Stage],
    valid: DataLike | None = None,
    max_seconds: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Result:
    """Train in stages: layer by layer, by one scheme after another, or both.

    A stage of fewer layers trains the lowest ones as a machine of their own, whose top layer has its leak in the place
    of the layers above. Machines keep what they have learned, sizes and restarts from stage to stage; each stage begins
    its optimiser anew, and ends with the parameters that :func:`pyro_helm.fit` keeps. Ctrl-C ends the training.

    With few causes at first (``initial_bias`` of the guide, a leak of the hidden layers that is low), the lowest layers
    find the causes of the data before those above have to agree with them.

    Args:
        model: as for :func:`pyro_helm.fit`; of this library for stages of fewer layers.
        guide: likewise.
        data: likewise.
        stages: in their order. The last one trains all layers.
        valid: likewise; each stage keeps its best parameters by them.
        max_seconds: of all stages together; what it leaves no time for is left out.
        out: folder for the run: the last stage's as :func:`pyro_helm.fit` writes it, and ``stage-1``, ... in it.
        resume: go on with the run in the folder, in the stage where it was. More epochs may be asked for in the last.
        overwrite: replace a run that the folder holds; else it is refused.
        settings: all else that :func:`pyro_helm.fit` takes, for every stage. Callbacks are told of each stage from
            epoch 1; one that returns True ends the stage.

    Returns:
        the machine as the last stage left it, with the ``history`` of all stages, whose epochs and seconds go on. Its
        columns ``sizes`` and ``scheme`` tell them apart.

    Raises:
        ValueError: for no stages, a number of layers out of range, or as :func:`pyro_helm.fit`; for a folder that holds
            a run of other stages.
        TypeError: for stages of fewer layers of a program that is not this library's; for an unknown setting.

    Source: Hinton, Osindero & Teh, A fast learning algorithm for deep belief nets, 2006, of layer-by-layer training.

    >>> data = load_data("bars")
    >>> model = BeliefNetwork((16, 8, 2), "odds", fixed_leak=(None, 0.1, 0.1), restarts=4, seed=0)
    >>> guide = FactorialRecognition((16, 8, 2), initial_bias=(-3, None), restarts=4, seed=0)
    >>> stages = [Stage(MeanField(), num_epochs=2, layers=2), Stage(ReweightedWakeSleep(5), num_epochs=3)]
    >>> result = fit_in_stages(model, guide, data.train[:200], stages=stages, progress=False)
    >>> result.history.groupby("sizes", sort=False).epoch.max().to_dict()
    {'16-8': 2, '16-8-2': 5}
    """
    chosen = _checked_stages(stages, model, guide)
    common = _checked_settings(settings)
    left = None if max_seconds in (None, math.inf) else positive("max_seconds", max_seconds)
    folders = _folders(out, chosen, resume=resume, overwrite=overwrite)
    if folders[-1] is not None:
        _begin(folders[-1], model, guide, chosen)
    results: list[Result] = []
    for stage, folder in zip(chosen, folders, strict=True):
        own = {name: value for name, value in _told(stage).items() if value is not None}
        own |= {} if stage.step is None else {"step": stage.step}
        there = {"max_seconds": left, "out": folder, "resume": resume and folder is not None}
        results.append(_trained(model, guide, data, stage, valid=valid, **common | own | there))
        if left is not None:
            seconds = results[-1].history.seconds.max() if len(results[-1].history) else 0.0
            left = left - seconds
        if results[-1].interrupted or (left is not None and left <= 0):
            break
    return replace(results[-1], model=model, guide=guide, history=_end_to_end([result.history for result in results]))


def _trained(model: nn.Module, guide: nn.Module | None, data: DataLike, stage: Stage, **settings: Any) -> Result:
    """One stage."""
    if stage.layers is None or guide is None:
        return fit(model, guide, data, scheme=stage.scheme, **settings)
    lower_model, lower_guide = (lowest_layers(program, stage.layers) for program in (model, guide))
    result = fit(lower_model, lower_guide, data, scheme=stage.scheme, **settings)
    for part, program in ((lower_model, model), (lower_guide, guide)):
        program.to(next(part.parameters()))  # to the device and dtype that the settings ask for
        with torch.no_grad():
            put_back(part, program)
    return result


def _told(stage: Stage) -> dict[str, Any]:
    """What a stage tells ``fit``."""
    return {"num_epochs": stage.num_epochs, "learning_rate": stage.learning_rate, "schedule": stage.schedule}


def _checked_stages(stages: Any, model: nn.Module, guide: nn.Module | None) -> list[Stage]:
    """The stages, with None for all layers."""
    if isinstance(stages, Stage) or not isinstance(stages, Sequence) or isinstance(stages, str):
        raise TypeError(f"stages must be a list such as [Stage(VIMCO(5), num_epochs=10)], got {stages!r:.60}")
    depth, found = len(getattr(model, "sizes", ())), []
    for stage in stages:
        if not isinstance(stage, Stage):
            raise TypeError(f"stages must hold Stage(...) alone, got {stage!r:.60}")
        at_least_one("num_epochs", stage.num_epochs)
        check_step(stage.step, stage.scheme)
        if stage.layers is None:
            found.append(stage)
            continue
        if guide is None or not depth:
            raise TypeError("a stage of some layers needs a BeliefNetwork and its recognition network")
        if not is_whole(stage.layers) or not 2 <= stage.layers <= depth:
            raise ValueError(f"layers must be from 2 to {depth}, those of the model, got {stage.layers!r}")
        found.append(replace(stage, layers=None) if stage.layers == depth else stage)
    if not found or found[-1].layers is not None:
        raise ValueError("stages must end with one that trains all layers, layers=None")
    return found


def _checked_settings(settings: dict[str, Any]) -> dict[str, Any]:
    known = [field.name for field in fields(Settings) if field.name != "num_epochs"]
    for name in settings:
        if name in ("scheme", "num_epochs"):
            raise TypeError(f"{name} is given by each stage, Stage(scheme, num_epochs=...)")
        if name not in known:
            raise TypeError(unknown("setting", name, known))
    return settings


def _folders(out: Any, stages: Sequence[Stage], *, resume: bool, overwrite: bool) -> list[Path | None]:
    """Where each stage is saved, the last in ``out`` itself; refuse a folder that holds another run."""
    if out is None:
        if resume:
            raise ValueError("resume=True needs the folder of the run, but out is None")
        return [None] * len(stages)
    if resume and overwrite:
        raise ValueError("resume goes on with the run in the folder and overwrite replaces it; ask for one of the two")
    path = made_folder(out)
    file = path / _FILE
    if overwrite:
        forget_run(path)
        for folder in path.glob("stage-*"):
            shutil.rmtree(folder)
        file.unlink(missing_ok=True)
    plan = [_in_words(stage) for stage in stages]
    if file.exists() and not resume:
        raise ValueError(
            f"out={str(path)!r} holds a run in stages already; go on with it by resume=True, replace it by "
            "overwrite=True, or choose another folder"
        )
    if file.exists() and _but_for_the_end(json.loads(file.read_text())) != _but_for_the_end(plan):
        raise ValueError(
            f"the run in {path} can't be resumed, because its stages were others, as {_FILE} says; choose another out, "
            "or overwrite=True to replace it"
        )
    if not file.exists() and (path / CONFIG).exists():
        raise ValueError(f"out={str(path)!r} holds a run without stages already; choose another folder")
    return [*(path / f"stage-{number}" for number in range(1, len(stages))), path]


def _begin(path: Path, model: nn.Module, guide: nn.Module | None, stages: Sequence[Stage]) -> None:
    """Keep the initial values, or take those of a run that goes on: some layers may not be trained yet."""
    if (path / _FILE).exists():
        load(path / _INITIAL, model, guide)
    else:
        save(path / _INITIAL, model, guide)
    with atomic_path(path / _FILE) as temporary:
        temporary.write_text(json.dumps([_in_words(stage) for stage in stages], indent=2) + "\n", encoding="utf-8")


def _in_words(stage: Stage) -> dict[str, Any]:
    return {"scheme": stage.scheme.name, "layers": stage.layers, **{k: described(v) for k, v in _told(stage).items()}}


def _but_for_the_end(plan: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A plan without the epochs of its last stage, which may be more."""
    return [*plan[:-1], {**plan[-1], "num_epochs": None}]


def _end_to_end(histories: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Histories of stages as one, in which epochs and seconds go on."""
    parts, epoch, seconds = [], 0, 0.0
    for history in (history for history in histories if len(history)):
        parts.append(history.assign(epoch=history.epoch + epoch, seconds=history.seconds + seconds))
        epoch, seconds = parts[-1].epoch.max(), parts[-1].seconds.max()
    return pd.concat(parts, ignore_index=True) if parts else histories[-1]
