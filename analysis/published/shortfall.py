"""How far importance sampling falls short of the log-likelihood: both bounds on dreams of each data set's best machine.

    python -m analysis.published.shortfall density results/published/density

writes ``analysis/published/results/density-shortfall.csv``: for the machine of each data set with the best validation
log-likelihood, a ``lower`` and an ``upper`` bound of ``log p`` of some of its dreams by annealing, the importance
estimate with the study's own number of samples, and the ``shortfall`` of the latter below the upper bound, in nats per
dream. On data the estimate falls short by about as much, if the machine's dreams are like the data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import pyro_helm as helm
from analysis.published.table import HERE

COLUMNS = ["lower", "upper", "gap", "gap_stderr", "importance", "shortfall", "shortfall_stderr"]


def main(
    name: Annotated[str, typer.Argument(help="Of the study: density, uci, mnist, others or autoregressive.")],
    folder: Annotated[Path, typer.Argument(help="Where the study was trained.")],
    num_data: Annotated[int, typer.Option(help="Dreams of each machine.")] = 100,
    schedule: Annotated[int, typer.Option(help="Steps of each annealing chain.")] = 1000,
) -> None:
    """Write the table, and print it."""
    study = helm.Study.open(folder)
    chosen = study.chosen().sort_values("valid_log_likelihood", ascending=False).drop_duplicates("dataset")
    samples = study.runs().set_index("run").num_samples
    rows = []
    for best in chosen.sort_values("dataset").to_dict("records"):
        run = best["runs"].split()[0]
        number = int(samples[run])
        gap = helm.log_likelihood_gap(*study.machine(run), num_data=num_data, num_samples=number, schedule=schedule)
        found = gap.summary.iloc[0]
        rows.append(
            {name: best[name] for name in ("dataset", "machine", "scheme")}
            | {"samples": number}
            | {column: found[column] for column in COLUMNS}
        )
    table = pd.DataFrame(rows).round(4)
    table.to_csv(HERE / "results" / f"{name}-shortfall.csv", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
