"""Our numbers beside the published ones: docs/published.md, from the tables under analysis/published/results/.

python docs/published_page.py            # writes docs/published.md
python docs/published_page.py --check    # writes nothing; exits with 1 if the page is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PAGE, SOURCE = ROOT / "docs" / "published.md", ROOT / "analysis" / "published"
STUDIES = ("density", "mixtures", "autoregressive", "uci", "others", "mnist")
NUMBERS = ("log p", "-F", "rate", "tried", "ours", "theirs")
REFERENCE = "reweighted_wake_sleep"

INTRODUCTION = """<!-- Written by docs/published_page.py; change that, or the tables it reads, and run it again. -->
# Beside published numbers

Test log-likelihoods of belief networks trained by this library, in nats per datum, beside numbers read at their source.
Each group of data sets is a study file in `analysis/published/`, and each table below is made by two commands, here for
the first:

```
PYRO_HELM_DATA=FOLDER pyro-helm study analysis/published/density.toml --out results/density
python -m analysis.published.table density results/density
```

`pyro-helm study ... --only dataset=nltcs --only scheme=vimco --only learning_rate=0.01` trains a single row.

- **Tuning.** Every scheme has the same settings to choose from, those of the study file, and is judged by the
  log-likelihood of the validation data; `tried` says how many. The learning rate falls to zero by a cosine. Kept
  are exponential averages of the weights at the best validation epoch. One training each.
- **Estimates.** Ours are importance sampling with 2,000 draws per case, which is below the log-likelihood on average,
  or exact for machines without a guide, whose hidden units can be summed.
  ± is the standard error of the mean over the test cases. All methods are scored on the same cases, so that a
  difference between two is surer than that. An estimate with a star warns that it is likely too low.
- **Theirs** are from `analysis/published/published.csv`, with source and place. A bound is not a log-likelihood, and
  says so. Numbers that could not be read at their source are marked unverified and count for nothing.
"""


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if the page is out of date.")
    ] = False,
) -> None:
    """Write the page, or check that it is up to date."""
    if not check:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        typer.echo("docs/published.md is out of date; run python docs/published_page.py", err=True)
        raise typer.Exit(1)


def page() -> str:
    """The text of the page."""
    results = {name: _results(name) for name in STUDIES}
    every = pd.concat(results.values(), ignore_index=True)
    parts = [INTRODUCTION.rstrip(), "## The best of ours and the best of theirs", _standing(every)]
    parts += ["## Which scheme is ahead", _schemes(every)]
    for name in STUDIES:
        parts += _section(name, results[name])
    return "\n\n".join(parts) + "\n"


def _results(name: str) -> pd.DataFrame:
    path = SOURCE / "results" / f"{name}.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["dataset", "log_likelihood"])


@cache
def _published() -> pd.DataFrame:
    return pd.read_csv(SOURCE / "published.csv")


def _standing(ours: pd.DataFrame) -> str:
    """Per data set the best machine of ours, and the best verified numbers of belief networks and of other models."""
    theirs = _published().query("verified == 'yes'")
    best = ours.sort_values("valid_log_likelihood", ascending=False).drop_duplicates("dataset").set_index("dataset")
    rows = []
    for dataset, published in theirs.groupby("dataset", sort=False):
        our = best.loc[dataset] if dataset in best.index else None
        cells = ["", "not trained yet"]
        if our is not None:
            cells = [_value(our.log_likelihood, our.stderr), f"{our.machine}, `{our.scheme}`"]
        for family in ("belief network", "other"):
            their = published[published.family == family].sort_values("value", ascending=False)
            cells += ["", ""] if their.empty else [f"{their.value.iloc[0]:.3f}", _method(their.iloc[0])]
        rows.append([str(dataset), *cells])
    heads = ["data", "ours", "machine, scheme", "theirs", "of belief networks", "theirs", "of other models"]
    return "Ours is the machine with the best validation log-likelihood of all that were trained.\n\n" + _table(
        heads, rows
    )


def _schemes(ours: pd.DataFrame) -> str:
    """Per data set and machine, how far each scheme is from reweighted wake-sleep, in words of a table."""
    ours = ours.drop_duplicates(["dataset", "machine", "scheme"])
    wide = ours.set_index(["dataset", "machine", "scheme"]).log_likelihood.unstack("scheme", sort=False)
    wide = wide[wide.notna().sum(axis=1) > 1].dropna(axis=1, how="all")
    others = [scheme for scheme in wide if scheme != REFERENCE]
    rows = []
    for (dataset, machine), row in wide.iterrows():
        differences = row[others] - row[REFERENCE]
        cells = ["" if pd.isna(each) else f"{each:+.3f}" for each in differences]
        rows.append([str(dataset), str(machine), f"{row[REFERENCE]:.3f}", *cells])
    text = (
        "The same network trained to the end by each scheme, each at the better of its learning rates: test\n"
        f"log-likelihood of `{REFERENCE}`, and what the others differ from it, in nats per datum. One training\n"
        "each: differences of a few hundredths are no more than another seed may bring."
    )
    heads = ["data", "network", f"`{REFERENCE}`", *(f"`{scheme}`" for scheme in others)]
    return text + "\n\n" + _table(heads, rows, numbers=heads[2:])


def _section(name: str, ours: pd.DataFrame) -> Iterator[str]:
    said = tomllib.loads((SOURCE / f"{name}.toml").read_text())
    yield f"## {said['name'][0].upper()}{said['name'][1:]}"
    yield f"{said['question']} `{name}.toml`"
    asked = [each if isinstance(each, str) else each.get("name", each["data"]) for each in said["datasets"]]
    rows: list[list[str]] = []
    for dataset in asked:
        rows += _rows_of(dataset, ours[ours.dataset == dataset])
    yield _table(["data", "method", "network", "log p", "estimator", "-F", "rate", "tried"], rows)
    shortfall = SOURCE / "results" / f"{name}-shortfall.csv"
    if shortfall.exists():
        yield _shortfall(pd.read_csv(shortfall), name)


def _rows_of(dataset: str, ours: pd.DataFrame) -> list[list[str]]:
    """Ours and theirs, best first; a data set that was not trained is an empty row."""
    found: list[tuple[float, list[str]]] = []
    for _, row in ours.iterrows():
        estimator = f"{row.estimator}*" if isinstance(row.warnings, str) else row.estimator
        cells = [f"**ours**, `{row.scheme}`", row.machine, _value(row.log_likelihood, row.stderr), estimator]
        cells += [
            "" if row.estimator == "exact" else f"{row.elbo:.2f}",
            f"{row.learning_rate:g}",
            f"{row.settings_tried:.0f}",
        ]
        found.append((row.log_likelihood, cells))
    theirs = _published()
    for _, row in theirs[theirs.dataset == dataset].iterrows():
        network = row.network if isinstance(row.network, str) else ""
        found.append((row.value, [row.method, network, f"{row.value:.2f}", _estimator(row), "", "", ""]))
    if ours.empty:
        found.append((float("-inf"), ["ours", "not trained yet", "", "", "", "", ""]))
    ordered = [cells for _, cells in sorted(found, key=lambda each: -each[0])]
    return [[dataset if number == 0 else "", *cells] for number, cells in enumerate(ordered)]


def _shortfall(table: pd.DataFrame, name: str) -> str:
    text = (
        f"How far the estimates may fall short, by both bounds on {table.dreams[0]} dreams of each data set's best\n"
        f"machine (`python -m analysis.published.shortfall {name} results/{name} --num-data {table.dreams[0]}\n"
        f"--schedule {table.annealing[0]}`):"
    )
    rows = [
        [row.dataset, f"{row.machine}, `{row.scheme}`", f"{row.gap:.3f} ± {row.gap_stderr:.3f}",
         f"{row.shortfall:.3f} ± {row.shortfall_stderr:.3f}"]
        for _, row in table.iterrows()
    ]  # fmt: skip
    return text + "\n\n" + _table(["data", "machine", "upper - lower bound", "upper bound - importance"], rows)


def _estimator(row: Any) -> str:
    samples = "" if pd.isna(row.samples) else f", {row.samples:.0f}"
    return f"{row.estimator}{samples}" + ("" if row.verified == "yes" else ", unverified")


def _method(row: Any) -> str:
    network = f", {row.network}" if isinstance(row.network, str) else ""
    return f"{row.method}{network} ({_estimator(row)})"


def _value(value: float, stderr: float) -> str:
    return f"{value:.3f}" + ("" if pd.isna(stderr) else f" ± {stderr:.3f}")


def _table(heads: list[str], rows: list[list[str]], numbers: Sequence[str] = NUMBERS) -> str:
    rule = ["--:" if head in numbers else "---" for head in heads]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, rule, *rows])


if __name__ == "__main__":
    typer.run(main)
