"""What a comparison leaves for a reader: a summary, learning curves, weights and dreams of the best machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from pyro_helm.data.sets import Data
from pyro_helm.experiments import plots
from pyro_helm.experiments.comparison import Comparison
from pyro_helm.experiments.recipes import load_machine
from pyro_helm.guides import FactorialRecognition
from pyro_helm.guides.bottom_up import BottomUp
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.atomic_files import atomic_path
from pyro_helm.runtime.device import placement
from pyro_helm.runtime.seeding import forked_rng

NUM_DREAMS = 40


def write_report(comparison: Comparison, data: Data, out: str | Path) -> None:
    """Write ``summary.csv`` and the figures of a comparison to the folder that it wrote its machines to.

    Figures: ``learning_curves.png``; ``weights-IMAGING.png`` of the best machine of each imaging model; ``dreams.png``,
    theirs beside data. Nothing is written of a comparison that was interrupted before its first epoch.
    """
    out = Path(out)
    if comparison.table.empty:
        return
    with atomic_path(out / "summary.csv") as path:
        comparison.summary.to_csv(path, index=False)
    ceilings = {} if data.distribution is None else {data.name: -data.distribution.entropy}
    plots.save_figure(plots.learning_curves(comparison.table, ceilings=ceilings), out / "learning_curves.png")
    sheets = {"data": data.test[:NUM_DREAMS]}
    for machine, scheme, restart in best_machines(comparison.table):
        folder = _folder_of(comparison.runs, machine | {"scheme": scheme})
        model, guide = (None, None) if folder is None else load_machine(folder)
        if not isinstance(model, BeliefNetwork):
            continue
        name = " ".join(filter(None, machine.values()))
        if isinstance(guide, BottomUp) and guide.trunk is None:
            figure = plots.weight_diagram(model, guide, restart=restart, image_shape=data.image_shape)
            plots.save_figure(figure, out / f"weights-{re.sub('[^A-Za-z0-9_.=-]+', '-', name)}.png")
        sheets[f"dreams: {name}, {scheme}"] = dreams(model, restart=restart, seed=0)
    plots.save_figure(plots.dream_sheet(sheets, image_shape=_shape(data, data.test)), out / "dreams.png")


def best_machines(table: pd.DataFrame) -> list[tuple[dict[str, str], str, int]]:
    """Machine, scheme and restart of the best log-likelihood of each machine; failed restarts left out.

    A machine is told by its imaging model, and by model and guide where several are compared.
    """
    told = ["imaging", *(name for name in ("machine_model", "guide") if name in table)]
    keys = [*told, "scheme", "restart"]
    final = table[table.metric.isin(["log_likelihood", "failed"])].pivot_table(
        index=keys, columns="metric", values="value", sort=False
    )
    kept = final[final.failed == 0].reset_index()
    best = kept.loc[kept.groupby(told, sort=False).log_likelihood.idxmax(), keys]
    return [({name: row[name] for name in told}, row["scheme"], row["restart"]) for row in best.to_dict("records")]


def _folder_of(runs: pd.DataFrame, labels: Mapping[str, str]) -> str | None:
    """Folder of the run with these labels; None where there is none, as of a machine that tells no imaging model."""
    for name, value in labels.items():
        runs = runs[runs[name] == value]
    return None if runs.empty else str(runs.folder.iloc[0])


def draw_machine(
    model: BeliefNetwork,
    guide: FactorialRecognition | None,
    out: str | Path,
    *,
    data: Data | None = None,
    restart: int = 0,
    seed: int = 0,
) -> list[Path]:
    """Draw ``weights.png`` and ``dreams.png`` of one restart into a folder, the dreams beside data if given.

    The weights of both halves are drawn side by side, so that a machine without a guide gets ``dreams.png`` alone.

    Returns:
        the paths of the figures.

    Raises:
        TypeError: for a model that is no :class:`BeliefNetwork`.
        ValueError: for a restart that there is not, or data of another width than the model's visible layer.

    """
    if not isinstance(model, BeliefNetwork):
        raise TypeError(f"weights and dreams are drawn of a BeliefNetwork, but the model is a {type(model).__name__}")
    if not 0 <= restart < model.restarts:
        raise ValueError(f"restart must be from 0 to {model.restarts - 1}, got {restart}")
    units = model.sizes[0]
    if data is not None and data.test.shape[1] != units:
        raise ValueError(f"{data.name} has width {data.test.shape[1]}, but the machine has {units} visible units")
    weights, sheet = Path(out) / "weights.png", Path(out) / "dreams.png"
    image_shape = None if data is None else data.image_shape
    if guide is not None:
        plots.save_figure(plots.weight_diagram(model, guide, restart=restart, image_shape=image_shape), weights)
    dreamt = dreams(model, restart=restart, seed=seed)
    groups = {} if data is None else {"data": data.test[:NUM_DREAMS]}
    figure = plots.dream_sheet(groups | {"dreams": dreamt}, image_shape=_shape(data, dreamt))
    plots.save_figure(figure, sheet)
    return [sheet] if guide is None else [weights, sheet]


def dreams(model: BeliefNetwork, *, restart: int, seed: int, number: int = NUM_DREAMS) -> Tensor:
    """Dreams of one restart, ``[number, units]``."""
    with torch.no_grad(), forked_rng(seed, placement(model)["device"]):
        dreamt: Tensor = model(num_data=number)
    return dreamt.reshape(model.restarts, number, -1)[restart].cpu()


def _shape(data: Data | None, cases: Tensor) -> tuple[int, int]:
    return (1, cases.shape[-1]) if data is None or data.image_shape is None else data.image_shape
