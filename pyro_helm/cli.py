"""The command line ``pyro-helm``: it parses, calls the library, prints and draws.

Commands import what they run, so that help does not wait for torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import pyro_helm as helm
from pyro_helm.cli_options import (
    DATA_HELP,
    AdamBatchSize,
    AdamLearningRate,
    BatchSize,
    DataName,
    Device,
    Epochs,
    FixedLeak,
    LearningRate,
    OnDistribution,
    Optimizer,
    Particles,
    Patience,
    Restarts,
    Samples,
    Seconds,
    Seed,
    Sizes,
    StepKind,
    chosen_names,
    descent_settings,
    layer_sizes,
    new_scheme,
)

app = typer.Typer(
    name="pyro-helm",
    help="Train and compare Helmholtz machines, and estimate their log-likelihoods. All log-likelihoods and bounds are "
    "in nats per datum; higher is better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def fit(
    data: DataName,
    sizes: Sizes,
    out: Annotated[Path, typer.Option(help="Folder for the machine and its history.")],
    scheme: Annotated[str, typer.Option(help="Inference scheme.")] = "reweighted_wake_sleep",
    imaging: Annotated[str, typer.Option(help="sigmoid, noisy_or or odds.")] = "sigmoid",
    fixed_leak: FixedLeak = None,
    particles: Particles = 5,
    restarts: Restarts = 8,
    epochs: Epochs = 50,
    seconds: Seconds = None,
    batch_size: AdamBatchSize = None,
    optimizer: Optimizer = "adam",
    learning_rate: AdamLearningRate = None,
    on_distribution: OnDistribution = False,
    patience: Patience = None,
    step: StepKind = "eager",
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Train one machine with many restarts and keep the best of each.

    Examples: pyro-helm fit shifter --sizes 24-2 --imaging odds --out runs/shifter;
    pyro-helm fit shifter --on-distribution --scheme mean_field --optimizer conjugate_gradient --sizes 24-2 --imaging
    odds --out runs/deterministic
    """
    from pyro_helm.guides import FactorialRecognition
    from pyro_helm.models import BeliefNetwork
    from pyro_helm.printing import print_table

    with _one_sentence_errors():
        loaded = helm.load_data(data)
        if on_distribution and loaded.distribution is None:
            raise ValueError(
                f"--on-distribution needs a generated data set such as shifter; {data} has no distribution"
            )
        layers = layer_sizes(sizes, loaded.train.shape[1])
        result = helm.fit(
            BeliefNetwork(layers, imaging, restarts=restarts, fixed_leak=fixed_leak, seed=seed),
            FactorialRecognition(layers, restarts=restarts, seed=seed),
            loaded.distribution if on_distribution and loaded.distribution else loaded.train,
            valid=loaded.valid,
            scheme=new_scheme(scheme, particles),
            num_epochs=epochs,
            max_seconds=seconds,
            **descent_settings(optimizer, batch_size, learning_rate),
            patience=patience,
            step=step,
            seed=seed,
            device=device,
            dataset=loaded.name,
            out=out,
        )
        if result.history.empty:
            raise ValueError("training was interrupted before its first epoch was over")
        print_table(
            result.restarts.rename(columns={"best": "valid_log_likelihood"}),
            f"{loaded.name}, best validation log-likelihood in nats per datum"
            + (" (interrupted)" if result.interrupted else ""),
        )
        typer.echo(f"machine and history: {out}")


@app.command()
def compare(
    data: DataName,
    sizes: Sizes,
    out: Annotated[Path, typer.Option(help="Folder for the tables, the figures and the machines.")],
    schemes: Annotated[
        str, typer.Option(help="Inference schemes, separated by commas, or all.")
    ] = "reinforce,wake_sleep,reweighted_wake_sleep",
    imaging: Annotated[str, typer.Option(help="Imaging models, separated by commas, or all.")] = "sigmoid",
    fixed_leak: FixedLeak = None,
    particles: Particles = 5,
    restarts: Restarts = 8,
    epochs: Epochs = 50,
    seconds: Seconds = None,
    batch_size: BatchSize = 100,
    learning_rate: LearningRate = 0.01,
    patience: Patience = None,
    step: StepKind = "eager",
    samples: Samples = 1000,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Train with several schemes and imaging models; print one table, write it and figures to --out.

    Writes results.parquet and results.csv (tidy: every epoch, restart and metric), summary.csv, learning_curves.png,
    and for the best machine of each imaging model weights and dreams.

    Example: pyro-helm compare shifter --sizes 24-2 --imaging all --out results/shifter
    """
    from pyro_helm.imaging import IMAGING
    from pyro_helm.printing import print_summary
    from pyro_helm.report import write_report

    with _one_sentence_errors():
        loaded = helm.load_data(data)
        comparison = helm.compare(
            loaded,
            schemes=[new_scheme(name, particles) for name in chosen_names(schemes, helm.SCHEMES)],
            sizes=layer_sizes(sizes, loaded.train.shape[1]),
            imaging=chosen_names(imaging, IMAGING),
            fixed_leak=fixed_leak,
            restarts=restarts,
            num_samples=samples,
            seed=seed,
            out=out,
            num_epochs=epochs,
            max_seconds=seconds,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=patience,
            step=step,
            device=device,
        )
        write_report(comparison, loaded, out)
        print_summary(comparison.summary, interrupted=comparison.interrupted)
        typer.echo(f"tables, figures and machines: {out}")


@app.command()
def loglik(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that fit or compare wrote a machine to.")],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    method: Annotated[
        str,
        typer.Option(
            help="importance: samples from the guide; ais: annealing from the guide or the prior; exact: all states of "
            "the hidden units, where they are few enough."
        ),
    ] = "importance",
    samples: Samples = 1000,
    chains: Annotated[int, typer.Option(help="Chains of ais per datum.")] = 16,
    steps: Annotated[int, typer.Option(help="Steps of each chain of ais.")] = 1000,
    start: Annotated[str, typer.Option(help="Where chains of ais begin: guide or prior.")] = "guide",
    against: Annotated[
        Path | None,
        typer.Option(metavar="RUN2", help="A second machine, to be compared with the first datum by datum."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps what is done, chunk by chunk; the same command goes on from there."),
    ] = None,
    max_terms: Annotated[int | None, typer.Option(help="Terms that exact may sum over; more are refused.")] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the log-likelihood of every datum to OUT.parquet and OUT.csv, of every restart to OUT-summary, "
            "of RUN2 to OUT-against, and the differences to OUT-differences."
        ),
    ] = None,
) -> None:
    """Log-likelihood of a trained machine on the test cases, or on the exact distribution where there is one.

    With --against, the differences between the restarts of two machines, with the standard error of paired
    differences.

    Example: pyro-helm loglik runs/shifter --data shifter --against runs/shifter-odds
    """
    from pyro_helm.comparison import cases_to_score
    from pyro_helm.printing import print_scores, print_table
    from pyro_helm.tables import write_table

    with _one_sentence_errors():
        loaded = helm.load_data(data)
        cases, weights = cases_to_score(loaded)
        what = "its exact distribution" if weights is not None else f"its {len(cases)} test cases"
        # both are loaded before the first is scored, which may take long
        machines = {path: helm.load(path) for path in (run, against) if path is not None}
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
                resume=None if resume is None else resume / ("against" if number else "run"),
                progress=True,
            )
            scored.append(scores)
            title = f"{loaded.name}, {what}: nats per datum, {method}"
            print_scores(scores, title if against is None else f"{path}: {title}")
            if out is not None:
                scores.write(f"{out}-against" if number else out)
        if against is not None:
            differences = helm.paired_differences(scored[0], scored[-1])
            print_table(differences, "difference, nats per datum: above 0 where RUN is better than --against")
            if out is not None:
                write_table(differences, f"{out}-differences")


@app.command()
def draw(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that fit or compare wrote a machine to.")],
    out: Annotated[Path, typer.Option(help="Folder for weights.png and dreams.png.")],
    data: Annotated[str | None, typer.Option(help="Data to show beside the dreams. " + DATA_HELP)] = None,
    restart: Annotated[int, typer.Option(help="Which restart to draw.")] = 0,
    seed: Seed = 0,
) -> None:
    """Draw a trained machine: its weights and its dreams.

    Example: pyro-helm draw runs/shifter --data shifter --out figures
    """
    from pyro_helm.report import draw_machine

    with _one_sentence_errors():
        model, guide = helm.load(run)
        loaded = None if data is None else helm.load_data(data)
        for path in draw_machine(model, guide, out, data=loaded, restart=restart, seed=seed):
            typer.echo(path)


@app.command("data")
def list_data() -> None:
    """List the data sets that can be named.

    Files are found in the folder PYRO_HELM_DATA. Published sets that are not here are downloaded when they are first
    loaded, into PYRO_HELM_CACHE or the system's folder for caches. Those "by hand" are to be put into PYRO_HELM_DATA.
    """
    from pyro_helm.printing import print_table

    with _one_sentence_errors():
        print_table(helm.available_data(), "data sets")


@contextmanager
def _one_sentence_errors() -> Iterator[None]:
    """Say what was wrong with the input in one sentence, without a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        typer.echo(f"pyro-helm: {error}", err=True)
        raise typer.Exit(2) from error
