"""Arguments and options of the commands, with their help."""

from __future__ import annotations

from typing import Annotated

import typer

from pyro_helm.cli.completion import data_names, guide_names, model_names

DATA_HELP = (
    "A data set by name (pyro-helm data lists them), or the path of a .npz, .npy or .csv file. Of a .csv, settings may "
    "follow in the same quotes: 'survey.csv missing=-9 index=person header=true'."
)


DataName = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP, autocompletion=data_names)]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a machine that fit or compare has written.")]
Sizes = Annotated[
    str | None,
    typer.Option(
        metavar="SIZES",
        help="Units of the hidden layers from bottom to top, such as 24-2. The width of the data may stand in front, "
        "as in 32-24-2. Models of your own may need none.",
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
    typer.Option(metavar="NUMBER", min=1, help="Draws per datum in each training step, for schemes that sample."),
]
Restarts = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Independent machines trained side by side.")]
Seed = Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Seed of initial values, minibatches and draws.")]
Epochs = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Passes over the training data.")]
Seconds = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Stop training after so many seconds, even if epochs are left."),
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
        help="Learning rate over the epochs: constant; cosine, which falls to zero; warm_up_cosine, which first rises "
        "for a tenth of the epochs; or step, which falls to a tenth after half of the epochs and to a hundredth after "
        "three quarters.",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=1,
        help="Stop a restart when its validation log-likelihood has not improved for so many epochs.",
    ),
]
Samples = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10**8, help="Importance samples per datum.")]
FixedLeak = Annotated[
    float | None,
    typer.Option(
        metavar="VALUE",
        help="A leak that is not learned, added to the learned one: a probability for noisy_or, odds for odds, a logit "
        "for sigmoid.",
    ),
]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="Where to compute: cpu, cuda, or one of several GPUs, such as cuda:1.")
]
Optimizer = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="adam; adamw, with weight decay; conjugate_gradient or lbfgs. The last two are for schemes that do not "
        "sample: each step takes all data in double precision and finds its own size, and an epoch is 50 iterations. "
        "Settings follow in the same quotes: 'adamw weight_decay=0.1'.",
    ),
]
GoOn = Annotated[
    bool, typer.Option("--resume", help="Resume the run in --out, if there is one. Its settings must be the same.")
]
SaveEvery = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Seconds between saves.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run that is already in --out.")]
StepKind = Annotated[
    str | None,
    typer.Option(
        "--step",
        metavar="KIND",
        help="eager; captured, which records one step and replays it; or compiled, which takes 10 to 20 seconds to "
        "begin and pays off from about ten thousand steps on. The numbers agree.",
        show_default="captured where that pays, else eager",
    ),
]
OnDistribution = Annotated[
    bool,
    typer.Option(
        "--on-distribution",
        help="Train on all patterns of a generated data set, weighted by their probabilities, instead of samples.",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="importance: samples from the guide. ais: annealing from the guide or the prior. exact: a sum over all "
        "states of the hidden units, if they are few enough.",
    ),
]
Chains = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10**6, help="Chains per datum, for ais.")]
Steps = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10**6, help="Steps of each chain, for ais.")]
Start = Annotated[str, typer.Option(metavar="NAME", help="Where chains begin, for ais: guide or prior.")]
Against = Annotated[
    str | None, typer.Option(metavar="RUN2", help="A second machine, compared with the first datum by datum.")
]
Resume = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="Folder for finished parts of the work. The same command goes on from there."),
]
MaxTerms = Annotated[
    int | None, typer.Option(metavar="NUMBER", min=1, help="Refuse an exact sum of more terms than this.")
]
OutStem = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="STEM",
        help="Write the log-likelihood of every datum to STEM.parquet and STEM.csv, of every restart to STEM-summary, "
        "of RUN2 to STEM-against, and the differences to STEM-differences.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER", min=1, help="Processes that train at once, one thread each.", show_default="one per core"
    ),
]
