"""``pyro-helm compare``: several schemes and imaging models in one table."""

from __future__ import annotations

from typing import Annotated

import typer

import pyro_helm as helm
from pyro_helm.cli.errors import one_sentence_errors
from pyro_helm.cli.options import (
    BatchSize,
    DataName,
    Device,
    Epochs,
    FixedLeak,
    LearningRate,
    Particles,
    Patience,
    Restarts,
    Samples,
    Schedule,
    Seconds,
    Seed,
    Sizes,
    StepKind,
)
from pyro_helm.cli.values import (
    check_step,
    checked_leak,
    checked_learning_rate,
    checked_sizes,
    chosen_device,
    chosen_names,
    imaging_models,
    new_scheme,
    output_folder,
)


def compare(
    data: DataName,
    sizes: Sizes,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the tables, the figures and the machines.")],
    schemes: Annotated[
        str, typer.Option(metavar="NAMES", help="Inference schemes, separated by commas, or all.")
    ] = "reinforce,wake_sleep,reweighted_wake_sleep",
    imaging: Annotated[
        str, typer.Option(metavar="NAMES", help="Imaging models, separated by commas, or all.")
    ] = "sigmoid",
    fixed_leak: FixedLeak = None,
    particles: Particles = 5,
    restarts: Restarts = 8,
    epochs: Epochs = 50,
    seconds: Seconds = None,
    batch_size: BatchSize = 100,
    learning_rate: LearningRate = 0.01,
    schedule: Schedule = None,
    patience: Patience = None,
    step: StepKind = None,
    samples: Samples = 1000,
    workers: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Processes that train at once, one thread each.")
    ] = 1,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Train with several schemes and imaging models; print one table, write it and figures to --out.

    Writes results.parquet and results.csv (tidy: every epoch, restart and metric), summary.csv, learning_curves.png,
    and for the best machine of each imaging model weights and dreams. The same command goes on where it was ended.

    For example:

    \b
    pyro-helm compare digits --sizes 32-16 --imaging all --out results/digits
    """
    from pyro_helm.cli.studies import end_of_comparison
    from pyro_helm.experiments.console import print_summary
    from pyro_helm.experiments.report import write_report

    with one_sentence_errors():
        folder, device = output_folder(out), chosen_device(device)
        rules = imaging_models(imaging)
        check_step(step)
        chosen = [new_scheme(name, particles) for name in chosen_names(schemes, helm.SCHEMES, "scheme")]
        loaded = helm.load_data(data)
        draws = particles if any(scheme.samples for scheme in chosen) else 1
        layers = checked_sizes(sizes, loaded, restarts=restarts, particles=draws, batch_size=batch_size, device=device)
        comparison = helm.compare(
            loaded,
            schemes=chosen,
            sizes=layers,
            imaging=rules,
            fixed_leak=checked_leak(fixed_leak),
            restarts=restarts,
            num_samples=samples,
            seed=seed,
            out=folder,
            workers=workers,
            num_epochs=epochs,
            max_seconds=seconds,
            batch_size=batch_size,
            learning_rate=checked_learning_rate(learning_rate),
            schedule=schedule,
            patience=patience,
            step=step,
            device=device,
        )
        write_report(comparison, loaded, folder)
        print_summary(comparison.summary, interrupted=comparison.interrupted)
        typer.echo(f"tables, figures and machines: {folder}")
        end_of_comparison(comparison)
