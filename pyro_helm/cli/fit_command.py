"""``pyro-helm fit``: train one machine."""

from __future__ import annotations

from typing import Annotated

import typer

import pyro_helm as helm
from pyro_helm.cli.completion import imaging_names, scheme_names
from pyro_helm.cli.ends import end_of_fit
from pyro_helm.cli.errors import INTERRUPTED, fail, one_sentence_errors
from pyro_helm.cli.options import (
    AdamBatchSize,
    AdamLearningRate,
    DataName,
    Device,
    Epochs,
    FixedLeak,
    GoOn,
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
    HiddenLeak,
    LayerByLayer,
    RecognitionBias,
    first_stages,
    new_machine,
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
    sizes: Sizes,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder for the machine and its history.")],
    scheme: Annotated[
        str, typer.Option(metavar="NAME", help="Inference scheme.", autocompletion=scheme_names)
    ] = "reweighted_wake_sleep",
    imaging: Annotated[
        str, typer.Option(metavar="NAME", help="sigmoid, noisy_or or odds.", autocompletion=imaging_names)
    ] = "sigmoid",
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
    first_learning_rate: FirstLearningRate = None,
    recognition_bias: RecognitionBias = None,
    hidden_leak: HiddenLeak = None,
    step: StepKind = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: GoOn = False,
    save_every: SaveEvery = 60.0,
    overwrite: Overwrite = False,
) -> None:
    """Train one machine with many restarts and keep the best of each.

    Exit status: 0 finished; 1 every restart failed, or it could not be saved; 2 wrong input; 3 some restarts failed;
    130 ended by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP, in all three cases saved.

    For example:

    \b
    pyro-helm fit shifter --sizes 24-2 --imaging odds --out runs/odds
    pyro-helm fit digits --sizes 32-16 --scheme vimco --out runs/digits
    pyro-helm fit shifter --sizes 24-2 --imaging odds --layer-by-layer 4 --first-scheme mean_field
        --recognition-bias -3,0 --out runs/by_layer
    pyro-helm fit shifter --sizes 24-2 --on-distribution --scheme mean_field
        --optimizer conjugate_gradient --out runs/deterministic
    """
    from pyro_helm.experiments.console import print_table

    with one_sentence_errors():
        folder, device = output_folder(out), chosen_device(device)
        check_imaging(imaging)
        check_step(step)
        chosen, settings = new_scheme(scheme, particles), descent_settings(optimizer, batch_size, learning_rate)
        loaded = helm.load_data(data)
        draws, rows = particles if chosen.samples else 1, settings["batch_size"]
        layers = checked_sizes(sizes, loaded, restarts=restarts, particles=draws, batch_size=rows, device=device)
        first = first_stages(layers, chosen, particles, layer_by_layer, first_scheme, first_epochs, first_learning_rate)
        leaks = {"fixed_leak": checked_leak(fixed_leak), "hidden_leak": hidden_leak}
        result = train(
            *new_machine(layers, imaging, restarts, **leaks, recognition_bias=recognition_bias, seed=seed),
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
        if result.history.empty:
            fail(f"interrupted before the first epoch was over; --resume goes on in {folder}", INTERRUPTED)
        print_table(
            result.summary.rename(columns={"best": "valid_log_likelihood"}),
            f"{loaded.name}, best validation log-likelihood in nats per datum{' (interrupted)' * result.interrupted}",
        )
        end_of_fit(result, folder)
