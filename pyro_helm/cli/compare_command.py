"""``pyro-helm compare``: several schemes and imaging models in one table."""

from __future__ import annotations

from typing import Annotated

import typer

import pyro_helm as helm
from pyro_helm.cli.completion import guide_names, imaging_names, model_names, scheme_names
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
    chosen_schemes,
    imaging_models,
    is_own,
    lines_of,
    output_folder,
)


def compare(
    data: DataName,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the tables, the figures and the machines.")],
    sizes: Sizes = None,
    schemes: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Inference schemes, separated by commas, or all. Each may have settings, 'vimco,nvil "
            "num_particles=3', or be FILE:NAME of your own.",
            autocompletion=scheme_names,
        ),
    ] = "reinforce,wake_sleep,reweighted_wake_sleep",
    imaging: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Imaging models, separated by commas, or all.",
            autocompletion=imaging_names,
            show_default="sigmoid",
        ),
    ] = None,
    models: Annotated[
        str,
        typer.Option(
            "--model", metavar="NAMES", help="Models, separated by commas, as for fit.", autocompletion=model_names
        ),
    ] = "belief_network",
    guides: Annotated[
        str,
        typer.Option(
            "--guide", metavar="NAMES", help="Guides, separated by commas, as for fit.", autocompletion=guide_names
        ),
    ] = "factorial_recognition",
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
    """Train with several schemes and compare them in one table.

    Trains every combination of scheme, imaging model, model and guide. Writes results.parquet and results.csv (tidy:
    every epoch, restart and metric), summary.csv, learning_curves.png, and weights and dreams of the best machine of
    each kind. The same command resumes an interrupted comparison.

    For example:

    \b
    pyro-helm compare digits --sizes 32-16 --imaging all --out results/digits
    pyro-helm compare digits --sizes 32-16 --schemes vimco
        --guide 'factorial_recognition,autoregressive_recognition'
        --out results/guides
    """
    from pyro_helm.cli.studies import end_of_comparison
    from pyro_helm.experiments.console import print_summary
    from pyro_helm.experiments.report import write_report

    with one_sentence_errors():
        folder, device = output_folder(out), chosen_device(device)
        check_step(step)
        chosen = chosen_schemes(schemes, particles)
        loaded = helm.load_data(data)
        draws = particles if any(scheme.samples for scheme in chosen) else 1
        model, guide = lines_of(models), lines_of(guides)
        needing = min(model, key=is_own)
        layers = checked_sizes(
            sizes, loaded, model=needing, restarts=restarts, particles=draws, batch_size=batch_size, device=device
        )
        comparison = helm.compare(
            loaded,
            schemes=chosen,
            sizes=layers if len(layers) > 1 else None,
            imaging=imaging_models(imaging),
            model=model,
            guide=guide,
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
