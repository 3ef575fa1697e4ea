"""``pyro-helm loglik``: log-likelihood of a trained machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import pyro_helm as helm
from pyro_helm.cli.completion import data_names
from pyro_helm.cli.errors import fail, one_sentence_errors
from pyro_helm.cli.options import (
    DATA_HELP,
    Against,
    Chains,
    MaxTerms,
    Method,
    OutStem,
    Resume,
    Run,
    Samples,
    Seed,
    Start,
    Steps,
)
from pyro_helm.cli.values import check_method, output_stem, resume_folder


def loglik(
    run: Run,
    data: Annotated[str, typer.Option(metavar="DATA", help=DATA_HELP, autocompletion=data_names)],
    method: Method = "importance",
    samples: Samples = 1000,
    chains: Chains = 16,
    steps: Steps = 1000,
    start: Start = "guide",
    against: Against = None,
    resume: Resume = None,
    max_terms: MaxTerms = None,
    seed: Seed = 0,
    out: OutStem = None,
) -> None:
    """Estimate the log-likelihood of a trained machine.

    It is scored on the test cases, or on the exact distribution where the data have one. With --against, it also prints
    the differences between the restarts of two machines, with the standard error of paired differences.

    For example:

    \b
    pyro-helm loglik runs/odds --data shifter
    pyro-helm loglik runs/odds --data shifter --against runs/deterministic
    """
    from pyro_helm.experiments.console import print_scores
    from pyro_helm.experiments.recipes import load_machine
    from pyro_helm.experiments.scoring import cases_to_score

    with one_sentence_errors():
        check_method(method, start)
        stem = None if out is None else output_stem(out)
        kept = None if resume is None else resume_folder(resume)
        loaded = helm.load_data(data)
        cases, weights = cases_to_score(loaded)
        what = "its exact distribution" if weights is not None else f"its {len(cases)} test cases"
        # both are loaded before the first is scored, which may take long
        machines = {path: load_machine(path) for path in (run, against) if path is not None}
        scored: list[helm.Scores] = []
        for number, (path, (model, guide)) in enumerate(machines.items()):
            scores = helm.log_likelihood(
                model,
                guide,
                cases,
                method=method,
                num_samples=samples,
                num_chains=chains,
                schedule=steps,
                start=start,
                max_terms=max_terms,
                weights=weights,
                seed=seed,
                resume=None if kept is None else kept / ("against" if number else "run"),
                progress=True,
            )
            scored.append(scores)
            title = f"{loaded.name}, {what}: nats per datum, {method}"
            print_scores(scores, title if against is None else f"{path}: {title}")
            if stem is not None:
                scores.write(f"{stem}-against" if number else stem)
        if against is not None:
            _print_differences(scored, stem)
        if any(scores.summary.log_likelihood.isna().all() for scores in scored):
            fail("no restart has a finite log-likelihood, as the warnings say")


def _print_differences(scored: list[helm.Scores], stem: Path | None) -> None:
    """Print how far two machines are apart, and write it where tables are asked for."""
    from pyro_helm.experiments.console import print_table  # late: --help would wait for torch
    from pyro_helm.runtime.tables import write_table

    differences = helm.paired_differences(scored[0], scored[-1])
    print_table(differences, "difference, nats per datum: above 0 where RUN is better than --against")
    if stem is not None:
        write_table(differences, f"{stem}-differences")
