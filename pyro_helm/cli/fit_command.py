"""``pyro-helm fit``: train one machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import pyro_helm as helm
from pyro_helm.cli.completion import imaging_names, scheme_names
from pyro_helm.cli.ends import end_of_fit, print_fit
from pyro_helm.cli.errors import one_sentence_errors
from pyro_helm.cli.options import (
    AdamBatchSize,
    AdamLearningRate,
    DataName,
    Device,
    Epochs,
    FixedLeak,
    GoOn,
    Guide,
    Model,
    OnDistribution,
    Optimizer,
    Overwrite,
    Particles,
    Patience,
    Restarts,
    SaveEvery,
    Schedule,
    Seconds,
    Seed,
    Sizes,
    StepKind,
)
from pyro_helm.cli.stages import (
    FirstEpochs,
    FirstLearningRate,
    FirstScheme,
    LayerByLayer,
    first_stages,
    train,
)
from pyro_helm.cli.values import (
    check_imaging,
    check_step,
    checked_leak,
    checked_sizes,
    chosen_device,
    descent_settings,
    distribution_of,
    new_scheme,
    output_folder,
)


def fit(
    data: DataName,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the machine and its history.")],
    sizes: Sizes = None,
    scheme: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Inference scheme, or FILE:NAME of your own. Settings follow in the same quotes: 'nvil "
            "num_particles=3'.",
            autocompletion=scheme_names,
        ),
    ] = "reweighted_wake_sleep",
    imaging: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Imaging model: sigmoid, noisy_or or odds. For other data give --model 'belief_network "
            "visible=gaussian' (or poisson, or categorical groups=2).",
            autocompletion=imaging_names,
            show_default="sigmoid",
        ),
    ] = None,
    model: Model = "belief_network",
    guide: Guide = "factorial_recognition",
    fixed_leak: FixedLeak = None,
    particles: Particles = 5,
    restarts: Restarts = 8,
    epochs: Epochs = 50,
    seconds: Seconds = None,
    batch_size: AdamBatchSize = None,
    optimizer: Optimizer = "adam",
    learning_rate: AdamLearningRate = None,
    on_distribution: OnDistribution = False,
    schedule: Schedule = None,
    patience: Patience = None,
    layer_by_layer: LayerByLayer = None,
    first_scheme: FirstScheme = None,
    first_epochs: FirstEpochs = None,
    first_rate: FirstLearningRate = None,
    step: StepKind = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: GoOn = False,
    save_every: SaveEvery = 60.0,
    overwrite: Overwrite = False,
) -> None:
    """Train one machine with many restarts side by side.

    Each restart keeps its best parameters.

    Exit status: 0 finished; 1 every restart failed, or the machine could not be saved; 2 wrong input; 3 some restarts
    failed; 130 ended by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP. These last three save the run first.

    For example:

    \b
    pyro-helm fit shifter --sizes 24-2 --imaging odds --out runs/odds
    pyro-helm fit digits --sizes 32-16 --scheme vimco --out runs/digits
    pyro-helm fit digits --sizes 32-16 --guide 'lateral_recognition iterations=5'
        --out runs/lateral
    pyro-helm fit shifter --sizes 24-2 --imaging odds --layer-by-layer 4
        --first-scheme mean_field --out runs/by_layer
        --guide 'factorial_recognition initial_bias=[-3,0]'
    pyro-helm fit shifter --sizes 24-2 --on-distribution --scheme mean_field
        --optimizer conjugate_gradient --out runs/deterministic
    """
    from pyro_helm.experiments.machines import machine_of
    from pyro_helm.experiments.recipes import keep_recipe

    with one_sentence_errors():
        folder, device = output_folder(out), chosen_device(device)
        check_imaging(imaging)
        check_step(step)
        chosen, settings = new_scheme(scheme, particles), descent_settings(optimizer, batch_size, learning_rate)
        loaded = helm.load_data(data)
        draws, rows = particles if chosen.samples else 1, settings["batch_size"]
        layers = checked_sizes(
            sizes, loaded, model=model, restarts=restarts, particles=draws, batch_size=rows, device=device
        )
        leak = checked_leak(fixed_leak)
        parts: Any = {"sizes": layers, "model": model, "guide": guide, "imaging": imaging, "fixed_leak": leak}
        machine = machine_of(loaded.train.shape[1], seed=seed, restarts=restarts, **parts)
        first = first_stages(layers, chosen, particles, layer_by_layer, first_scheme, first_epochs, first_rate)
        result = train(
            *machine,
            distribution_of(loaded) if on_distribution else loaded.train,
            valid=loaded.valid,
            scheme=chosen,
            first=first,
            num_epochs=epochs,
            max_seconds=seconds,
            **settings,
            schedule=schedule,
            patience=patience,
            step=step,
            seed=seed,
            device=device,
            dataset=loaded.name,
            out=folder,
            resume=resume,
            save_every=save_every,
            overwrite=overwrite,
        )
        if result.unsaved is None:
            keep_recipe(folder, parts, width=loaded.train.shape[1], seed=seed, restarts=restarts)
        print_fit(result, folder, loaded.name)
        end_of_fit(result, folder)
