"""How well hidden values are imputed, against a factorised model and a mixture of Bernoullis.

    PYRO_HELM_DATA=FOLDER python -m analysis.imputation --out results/imputation

A quarter of the values is hidden at random, in training, validation and test rows alike; what the data themselves lack
(the ``observed`` of house_votes_84) is missing too, but not scored. Each model is fitted to what is left, and gives
every hidden value of the test rows a probability given the observed ones of its row. The score is the mean of the log
of that probability, in nats per hidden value, with the error over test rows. The factorised model has a mean per unit;
the mixture is fitted by EM, which leaves missing values out, and its number of components is the best on the
validation rows; the belief network is trained by reweighted wake-sleep at a falling rate, its weights averaged, and the
restart that is best on them scored.
Writes ``OUT/imputation.csv`` and prints it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
import torch
import typer
from torch import Tensor

import pyro_helm as helm
from pyro_helm.runtime.atomic_files import atomic_path

HIDDEN = 0.25
SIZES = {"digits": (100, 50), "nltcs": (100, 50), "sun09_presence": (100, 50), "house_votes_84": (8, 4)}
EPOCHS = {"digits": 600, "nltcs": 60, "sun09_presence": 150, "house_votes_84": 200}
COMPONENTS = (4, 8, 16, 32)

Predict = Callable[[Tensor], Tensor]
"""From rows with missing values to the probability that each value is 1, given the observed ones of its row."""


class Rows(NamedTuple):
    """Rows with hidden values, and what was hidden; NaN where a value is not known or not hidden."""

    shown: Tensor
    hidden: Tensor


def hide(x: Tensor, generator: torch.Generator) -> Rows:
    """Hide a share of the values that are known."""
    taken = torch.rand(x.shape, generator=generator) < HIDDEN
    return Rows(x.masked_fill(taken, torch.nan), x.masked_fill(~taken, torch.nan))


def load(name: str, rows: int | None) -> list[Rows]:
    """Train, valid and test rows."""
    data = helm.load_data(name, missing=True)
    generator = torch.Generator().manual_seed(0)
    return [hide(part[:rows], generator) for part in (data.train, data.valid, data.test)]


def score(predict: Predict, rows: Rows) -> Tensor:
    """Log-probability of what is hidden, a sum for each row that has some, and how many there are: ``[rows, 2]``."""
    p = predict(rows.shown).clamp(1e-6, 1 - 1e-6)
    known = ~rows.hidden.isnan()
    log_p = torch.where(rows.hidden == 1, p.log(), torch.log1p(-p))
    return torch.stack([torch.where(known, log_p, 0.0).sum(-1), known.sum(-1)], -1)


def mean_of(scores: Tensor) -> float:
    """Nats per hidden value."""
    return float(scores[:, 0].sum() / scores[:, 1].sum())


def factorised(train: Tensor) -> Predict:
    """A mean per unit, with one more 0 and 1 each."""
    on, number = train.nansum(0), (~train.isnan()).sum(0)
    return lambda x: ((on + 1) / (number + 2)).expand_as(x)


def mixture(train: Tensor, components: int, *, seed: int = 0, steps: int = 100) -> Predict:
    """A mixture of Bernoullis by EM."""
    generator = torch.Generator().manual_seed(seed)
    observed, values = (~train.isnan()).float(), train.nan_to_num()
    share = torch.full((components,), 1 / components)
    means = 0.25 + 0.5 * torch.rand(components, train.shape[1], generator=generator)

    def responsibilities(x: Tensor) -> Tensor:
        seen, value = (~x.isnan()).float(), x.nan_to_num()
        log_p = (value * seen) @ means.log().T + ((1 - value) * seen) @ torch.log1p(-means).T + share.log()
        return log_p.softmax(-1)

    for _ in range(steps):
        each = responsibilities(train)
        share = (each.sum(0) + 1) / (len(train) + components)
        means = (each.T @ (values * observed) + 1) / (each.T @ observed + 2)
    return lambda x: responsibilities(x) @ means


def machine(name: str, train: Tensor, valid: Tensor, *, epochs: int, restarts: int, samples: int) -> Predict:
    """A belief network; the restart with the best validation log-likelihood."""
    sizes = (train.shape[1], *SIZES[name])
    model, guide = (kind(sizes, restarts=restarts, seed=0) for kind in (helm.BeliefNetwork, helm.FactorialRecognition))
    scheme = helm.ReweightedWakeSleep(num_particles=10)
    training: dict[str, Any] = {"num_epochs": epochs, "learning_rate": 0.005, "schedule": "cosine", "average": 0.999}
    result = helm.fit(model, guide, train, scheme=scheme, valid=valid, progress=False, **training)
    valid_best = result.history[result.history.metric == "valid_log_likelihood"].groupby("restart").value.max()
    best = int(valid_best.to_numpy().argmax())
    return lambda x: _of_restart(helm.impute(model, guide, x, num_samples=samples, num_draws=1).mean, restarts, best)


def _of_restart(mean: Tensor, restarts: int, best: int) -> Tensor:
    return mean if restarts == 1 else mean[best]


def compare(name: str, *, quick: bool, restarts: int) -> pd.DataFrame:
    """One row per model."""
    train, valid, test = load(name, 60 if quick else None)
    epochs, samples = (2, 50) if quick else (EPOCHS[name], 500)
    mixtures = {number: mixture(train.shown, number) for number in (COMPONENTS[:1] if quick else COMPONENTS)}
    best = max(mixtures, key=lambda number: mean_of(score(mixtures[number], valid)))
    models: dict[str, Predict] = {
        "factorised": factorised(train.shown),
        f"mixture of {best}": mixtures[best],
        "belief network " + "-".join(map(str, SIZES[name])): machine(
            name, train.shown, valid.shown, epochs=epochs, restarts=restarts, samples=samples
        ),
    }
    scores = {model: score(predict, test) for model, predict in models.items()}
    of_machine = list(scores.values())[-1]
    rows = []
    for model, found in scores.items():
        # of a ratio of sums over rows, by the delta method
        better = of_machine[:, 0] - found[:, 0]
        ratio = float(better.sum() / found[:, 1].sum())
        error = float((better - ratio * found[:, 1]).std() * len(better) ** 0.5 / found[:, 1].sum())
        rows.append((name, model, int(found[:, 1].sum()), mean_of(found), ratio, error))
    return pd.DataFrame(
        rows, columns=["dataset", "model", "hidden_values", "log_probability", "machine_is_better_by", "stderr"]
    )


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/imputation"),
    datasets: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(SIZES),
    restarts: Annotated[int, typer.Option(help="Machines, of which the best on validation is scored.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="60 rows and two epochs.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Hide, fit, score and print."""
    torch.set_num_threads(threads)
    tables = []
    for name in datasets.split(","):
        tables.append(compare(name, quick=quick, restarts=restarts))
        with atomic_path(out / "imputation.csv") as path:
            pd.concat(tables).round(4).to_csv(path, index=False)
        typer.echo(tables[-1].to_string(index=False, float_format="{:.4f}".format))


if __name__ == "__main__":
    typer.run(main)
