"""A study of published tables as a small table: the setting chosen for each scheme, beside the published numbers.

    python -m analysis.published.table density results/published/density

writes ``analysis/published/results/density.csv`` and prints it, best first within each data set. A published number of
another estimator is printed with its estimator: a bound is not a log-likelihood.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import pyro_helm as helm

HERE = Path(__file__).parent
COLUMNS = [
    "dataset", "machine", "scheme", "budget", "num_particles", "learning_rate", "settings_tried", "restarts", "failed",
    "valid_log_likelihood", "log_likelihood", "stderr", "estimator", "samples", "warnings", "elbo", "steps",
    "ms_per_step", "seconds",
]  # fmt: skip


def published() -> pd.DataFrame:
    """Numbers of papers and their code: dataset, method, network, value in nats, estimator, samples, source."""
    return pd.read_csv(HERE / "published.csv")


def ours(study: helm.Study) -> pd.DataFrame:
    """One row per data set, machine and scheme: the setting chosen on validation data, and its test log-likelihood.

    ``stderr`` is that of the mean over the test cases, ``estimator`` importance or, without a guide, exact, ``samples``
    those of each case, ``warnings`` what the estimate says of itself.
    """
    chosen, table = study.chosen(), study.table()
    test = table[(table.split == "test") & (table.metric == "log_likelihood")]
    samples = study.runs().set_index("run").num_samples
    rows = [test[test.run.isin(runs.split())] for runs in chosen.runs]
    chosen["stderr"] = [row.stderr.median() for row in rows]
    chosen["warnings"] = ["; ".join(dict.fromkeys(row.warnings.dropna())) for row in rows]
    exact = chosen.elbo.isna() & chosen.log_likelihood.notna()  # a bound needs a guide, and a run that did not fail
    chosen["estimator"] = exact.map({True: "exact", False: "importance"})
    chosen["samples"] = pd.Series([samples[runs.split()[0]] for runs in chosen.runs], dtype="Int64").mask(exact)
    return chosen[[column for column in COLUMNS if column in chosen]]


def beside_published(ours: pd.DataFrame) -> pd.DataFrame:
    """Ours and the published numbers that were read at their source, by data set, best first."""
    mine = ours.assign(method="ours, " + ours.scheme, network=ours.machine, value=ours.log_likelihood)
    theirs = published()
    theirs = theirs[(theirs.verified == "yes") & theirs.dataset.isin(ours.dataset)]
    columns = ["dataset", "method", "network", "value", "stderr", "estimator", "samples"]
    both = pd.concat([mine[columns], theirs.assign(stderr=float("nan"))[columns]], ignore_index=True)
    return both.sort_values(["dataset", "value"], ascending=[True, False], ignore_index=True)


def main(
    name: Annotated[str, typer.Argument(help="Of the study: density, mixtures, autoregressive, uci, others or mnist.")],
    folder: Annotated[Path, typer.Argument(help="Where the study was trained.")],
) -> None:
    """Write the table of a study, and print it beside the published numbers."""
    found = ours(helm.Study.open(folder))
    found.round(5).to_csv(HERE / "results" / f"{name}.csv", index=False)
    print("Test log-likelihood, nats per datum; the setting of each scheme was chosen on validation data.")
    print(beside_published(found).to_string(index=False, float_format="{:.3f}".format, na_rep=""))


if __name__ == "__main__":
    typer.run(main)
