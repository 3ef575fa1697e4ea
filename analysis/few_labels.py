"""Digits of which few have a label: belief networks that learn from all rows, against logistic regression on those.

    python -m analysis.few_labels --out results/few_labels

Of the 1257 training rows of digits (8 x 8 binary pixels) some have a label, as many of each class as can be. A
:class:`~pyro_helm.LabelledBeliefNetwork` of 32 hidden units sees all rows; the same network sees the labelled ones
alone; and scikit-learn's logistic regression sees the labelled ones, at the best of five penalties by cross-validation.
A digit is told by ``p(label | x)``, from 200 importance samples for each label. Prints accuracies on the 360 test rows,
with the error over them, and writes ``OUT/few_labels.csv``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from torch import Tensor

import pyro_helm as helm
from pyro_helm.experiments.console import print_table
from pyro_helm.runtime.atomic_files import atomic_path

SIZES = (64, 32)


def load() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Train and test rows with their labels; the last 360 are for test."""
    pixels, labels = load_digits(return_X_y=True)
    x, label = torch.from_numpy(pixels >= 8).float(), torch.from_numpy(labels).float()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, label = x[order], label[order]
    return x[:-360][:1257], label[:-360][:1257], x[-360:], label[-360:]


def hide(label: Tensor, number: int) -> Tensor:
    """Labels of the first rows of each class, NaN elsewhere."""
    shown = torch.full_like(label, torch.nan)
    for digit in range(10):
        of_digit = (label == digit).nonzero().flatten()[: number // 10]
        shown[of_digit] = digit
    return shown


def machine(x: Tensor, label: Tensor, test: Tensor, *, steps: int, samples: int) -> Tensor:
    """Digits told by a belief network."""
    model = helm.LabelledBeliefNetwork(SIZES, labels=10, seed=0)
    guide = helm.LabelledRecognition(SIZES, labels=10, seed=0)
    training: dict[str, Any] = {"learning_rate": 0.01, "schedule": "cosine", "average": 0.99, "progress": False}
    epochs = max(1, steps * 100 // max(100, len(x)))
    scheme = helm.ReweightedWakeSleep(10)
    helm.fit(model, guide, {"x": x, "label": label}, scheme=scheme, num_epochs=epochs, seed=0, **training)
    return helm.label_probabilities(model, guide, test, num_samples=samples)[0].argmax(-1)


def logistic_regression(x: Tensor, label: Tensor, test: Tensor) -> Tensor:
    """Digits told by logistic regression."""
    found = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [0.01, 0.1, 1, 10, 100]}, cv=2)
    return torch.from_numpy(found.fit(x.numpy(), label.numpy()).predict(test.numpy()))


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/few_labels"),
    numbers: Annotated[str, typer.Option(help="How many rows have a label, separated by commas.")] = "20,50,100,1200",
    steps: Annotated[int, typer.Option(help="Training steps of each network.")] = 3000,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps, to see that all works.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Hide labels, train, print."""
    torch.set_num_threads(threads)
    x, label, test, wanted = load()
    steps, samples = (10, 5) if quick else (steps, 200)
    rows = []
    for number in map(int, numbers.split(",")):
        shown = hide(label, number)
        known = ~shown.isnan()
        told = {
            "belief network, all rows": machine(x, shown, test, steps=steps, samples=samples),
            "belief network, labelled rows": machine(x[known], shown[known], test, steps=steps, samples=samples),
            "logistic regression": logistic_regression(x[known], shown[known], test),
        }
        for classifier, found in told.items():
            right = (found == wanted).double()
            rows.append((int(known.sum()), classifier, float(right.mean()), float(right.std() / len(right) ** 0.5)))
    table = pd.DataFrame(rows, columns=["labelled_rows", "classifier", "accuracy", "stderr"])
    print_table(table, "Accuracy on test digits")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "few_labels.csv") as path:
        table.round(4).to_csv(path, index=False)


if __name__ == "__main__":
    typer.run(main)
