"""Words as sequences of bits: a temporal belief network against letters one by one and in pairs.

    python -m analysis.text_as_bits --out results/text_as_bits

The words of this repository's documentation, of 2 to 10 letters, each once, lower case; a letter is five bits, the
number of its place in the alphabet. A tenth of the words is for test. The temporal belief network is told the length of
each word, and so are the others: letters one by one are a frequency for each letter, pairs a frequency for each letter
given the one before, both with one more count for every letter. The network's log-likelihood is by importance sampling,
a lower bound on average. Prints nats per letter and writes ``OUT/text_as_bits.csv``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor

import pyro_helm as helm
from pyro_helm.experiments.console import print_table
from pyro_helm.runtime.atomic_files import atomic_path

DOCS = Path(__file__).resolve().parent.parent / "docs"
LONGEST, BITS, LETTERS = 10, 5, 26


def words() -> list[str]:
    """Words of the documentation, in an order of their own."""
    text = " ".join(path.read_text() for path in sorted(DOCS.glob("*.md"))).lower()
    found = sorted(set(re.findall(rf"\b[a-z]{{2,{LONGEST}}}\b", text)))
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    return [found[place] for place in order.tolist()]


def letters_of(some: list[str]) -> Tensor:
    """Places in the alphabet from 0, -1 after the end, ``[words, steps]``."""
    rows = torch.full((len(some), LONGEST), -1)
    for row, word in zip(rows, some, strict=True):
        row[: len(word)] = torch.tensor([ord(letter) - ord("a") for letter in word])
    return rows


def sequences(letters: Tensor) -> dict[str, Tensor]:
    """Bits ``[words, steps, 5]`` and lengths."""
    bits = (letters.clamp(min=0)[..., None] >> torch.arange(BITS)) & 1
    return {"x": bits.float(), "length": (letters >= 0).sum(-1)}


def one_by_one(train: Tensor, test: Tensor) -> Tensor:
    """Log-probability of each test word, by the frequencies of letters."""
    counts = torch.bincount(train[train >= 0], minlength=LETTERS) + 1.0
    log_p = (counts / counts.sum()).log()
    return torch.where(test >= 0, log_p[test.clamp(min=0)], 0.0).sum(-1)


def in_pairs(train: Tensor, test: Tensor) -> Tensor:
    """Log-probability of each test word, by the frequencies of letters given the one before, or that they are first."""
    counts = torch.ones(LETTERS + 1, LETTERS)
    log_p = torch.zeros(len(test))
    for rows in (train, test):
        before = torch.cat([torch.full((len(rows), 1), LETTERS), rows[:, :-1]], 1)
        if rows is train:
            inside = rows >= 0
            counts.index_put_((before[inside], rows[inside]), torch.ones(()), accumulate=True)
        else:
            of_letters = (counts / counts.sum(-1, keepdim=True)).log()[before.clamp(min=0), rows.clamp(min=0)]
            log_p = torch.where(rows >= 0, of_letters, 0.0).sum(-1)
    return log_p


def temporal(train: Tensor, test: Tensor, sizes: tuple[int, ...], *, epochs: int, samples: int) -> Tensor:
    """Log-probability of each test word, by a temporal belief network."""
    model, guide = (kind((BITS, *sizes), seed=0) for kind in (helm.TemporalBeliefNetwork, helm.TemporalRecognition))
    training: dict[str, Any] = {"learning_rate": 0.01, "schedule": "cosine", "progress": False, "step": "captured"}
    helm.fit(model, guide, sequences(train), scheme=helm.VIMCO(10), num_epochs=epochs, seed=0, **training)
    scores = helm.log_likelihood(model, guide, sequences(test), num_samples=samples)
    return torch.tensor(scores.table.log_likelihood.to_list())


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/text_as_bits"),
    epochs: Annotated[int, typer.Option(help="Passes over the words.")] = 100,
    quick: Annotated[bool, typer.Option("--quick", help="One pass, to see that all works.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, score, print."""
    torch.set_num_threads(threads)
    some = words()[: 200 if quick else None]
    train, test = letters_of(some[len(some) // 10 :]), letters_of(some[: len(some) // 10])
    epochs, samples = (1, 10) if quick else (epochs, 1000)
    log_p = {
        "letters one by one": one_by_one(train, test),
        "letters in pairs": in_pairs(train, test),
        "temporal belief network 32": temporal(train, test, (32,), epochs=epochs, samples=samples),
    }
    number = int((test >= 0).sum())
    rows = []
    for model, of_words in log_p.items():
        per_letter = float(of_words.sum()) / number
        left = of_words - per_letter * (test >= 0).sum(-1)
        rows.append((model, len(train), len(test), per_letter, float(left.std() * len(test) ** 0.5) / number))
    table = pd.DataFrame(rows, columns=["model", "train_words", "test_words", "nats_per_letter", "stderr"])
    print_table(table, "Log-probability of words of known length, nats per letter")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "text_as_bits.csv") as path:
        table.round(4).to_csv(path, index=False)


if __name__ == "__main__":
    typer.run(main)
