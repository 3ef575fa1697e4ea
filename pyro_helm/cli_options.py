"""Arguments and options that commands share, with their help."""

from __future__ import annotations

from typing import Annotated

import typer

DATA_HELP = (
    "A data set by name (pyro-helm data lists them), or the path of a .npz, .npy or .csv file of zeros and ones."
)


DataName = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]
Sizes = Annotated[
    str, typer.Option(help="Units per layer, bottom to top, e.g. 32-24-2; the first may be left out: 24-2.")
]
Particles = Annotated[
    int, typer.Option(help="Draws per datum and restart in each training step of a scheme that samples.")
]
Restarts = Annotated[int, typer.Option(help="Independent machines trained side by side.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of initial values, minibatches and draws.")]
Epochs = Annotated[int, typer.Option(help="Passes over the training data.")]
Seconds = Annotated[
    float | None, typer.Option(help="End a training after so many seconds, however many epochs are left.")
]
BatchSize = Annotated[int, typer.Option(help="Data per training step.")]
LearningRate = Annotated[float, typer.Option(help="Learning rate of Adam.")]
Patience = Annotated[
    int | None, typer.Option(help="Stop a restart after so many epochs without a better validation log-likelihood.")
]
Samples = Annotated[int, typer.Option(help="Importance samples per datum.")]
FixedLeak = Annotated[
    float | None,
    typer.Option(
        help="A leak that is not learned, beside the learned one: a probability for noisy_or, odds for odds, a logit "
        "for sigmoid."
    ),
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
Optimizer = Annotated[
    str,
    typer.Option(
        help="adam, conjugate_gradient or lbfgs. The last two take all data in a step and choose its size "
        "themselves, in double precision, for schemes that do not sample; an epoch is 50 iterations."
    ),
]
OnDistribution = Annotated[
    bool,
    typer.Option(
        "--on-distribution",
        help="Train on every pattern of a generated data set, weighted by its probability, not on samples.",
    ),
]
