"""Arguments and options of the commands, with their help."""

from __future__ import annotations

from typing import Annotated

import typer

from pyro_helm.cli.completion import data_names, guide_names, model_names

DATA_HELP = (
    "A data set by name (pyro-helm data lists them), or the path of a .npz, .npy or .csv file of zeros and ones."
)


DataName = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP, autocompletion=data_names)]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Folder that fit or compare wrote a machine to.")]
Sizes = Annotated[
    str | None,
    typer.Option(
        metavar="SIZES",
        help="Units per layer, bottom to top, e.g. 32-24-2. The first may be left out: unless it is the "
        "width of the data, all are hidden layers. A model of your own may do without.",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Model: belief_network, or FILE:NAME of a class or function in a Python file of the current folder. "
        "Settings follow in the same quotes: 'belief_network lateral=true'.",
        autocompletion=model_names,
    ),
]
Guide = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Guide: factorial_recognition, autoregressive_recognition, lateral_recognition, iterative_recognition and "
        "those of labelled data and sequences; FILE:NAME of your own; or none. Settings follow in the same quotes: "
        "'lateral_recognition iterations=5'.",
        autocompletion=guide_names,
    ),
]
Particles = Annotated[
    int,
    typer.Option(
        metavar="NUMBER", min=1, help="Draws per datum and restart in each training step of a scheme that samples."
    ),
]
Restarts = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Independent machines trained side by side.")]
Seed = Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Seed of initial values, minibatches and draws.")]
Epochs = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Passes over the training data.")]
Seconds = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="End a training after so many seconds, however many epochs are left."),
]
BatchSize = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Data per training step.")]
LearningRate = Annotated[float, typer.Option(metavar="RATE", help="Learning rate of Adam.")]
AdamBatchSize = Annotated[
    int | None, typer.Option(metavar="NUMBER", min=1, help="Data per training step of adam.", show_default="100")
]
AdamLearningRate = Annotated[
    float | None, typer.Option(metavar="RATE", help="Learning rate of adam.", show_default="0.01")
]
Schedule = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Learning rate over the epochs: constant; cosine, towards zero; warm_up_cosine, which rises first for a "
        "tenth of the epochs; or step, a tenth of it after half of the epochs and a hundredth after three quarters.",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER", min=1, help="Stop a restart after so many epochs without a better validation log-likelihood."
    ),
]
Samples = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10**8, help="Importance samples per datum.")]
FixedLeak = Annotated[
    float | None,
    typer.Option(
        metavar="VALUE",
        help="A leak that is not learned, beside the learned one: a probability for noisy_or, odds for odds, a logit "
        "for sigmoid.",
    ),
]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="Where to compute: cpu, cuda, or one GPU of several as cuda:1.")
]
Optimizer = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="adam; adamw, whose weights decay; conjugate_gradient or lbfgs, which take all data in a step and choose "
        "its size themselves, in double precision, for schemes that do not sample, an epoch being 50 iterations. "
        "Settings follow in the same quotes: 'adamw weight_decay=0.1'.",
    ),
]
GoOn = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --out, if there is one; its settings must be the same.")
]
SaveEvery = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Seconds between saves.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that --out holds already.")]
StepKind = Annotated[
    str | None,
    typer.Option(
        "--step",
        metavar="KIND",
        help="eager; captured, whose steps are recorded once and replayed; or compiled, which first takes some ten "
        "seconds for each scheme and pays from some ten thousand steps on. The numbers are the same.",
        show_default="captured where that pays, else eager",
    ),
]
OnDistribution = Annotated[
    bool,
    typer.Option(
        "--on-distribution",
        help="Train on every pattern of a generated data set, weighted by its probability, not on samples.",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="importance: samples from the guide; ais: annealing from the guide or the prior; exact: all states of the "
        "hidden units, where they are few enough.",
    ),
]
Chains = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10**6, help="Chains of ais per datum.")]
Steps = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10**6, help="Steps of each chain of ais.")]
Start = Annotated[str, typer.Option(metavar="NAME", help="Where chains of ais begin: guide or prior.")]
Against = Annotated[
    str | None, typer.Option(metavar="RUN2", help="A second machine, to be compared with the first datum by datum.")
]
Resume = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Folder that keeps what is done, chunk by chunk; the same command goes on from there."
    ),
]
MaxTerms = Annotated[
    int | None, typer.Option(metavar="NUMBER", min=1, help="Terms that exact may sum over; more are refused.")
]
OutStem = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="STEM",
        help="Write the log-likelihood of every datum to OUT.parquet and OUT.csv, of every restart to OUT-summary, of "
        "RUN2 to OUT-against, and the differences to OUT-differences.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER", min=1, help="Processes that train at once, one thread each.", show_default="one per core"
    ),
]
