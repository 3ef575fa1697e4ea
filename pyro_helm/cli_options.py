"""Arguments and options that commands share, with their help, and what their text stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

import pyro_helm as helm

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
AdamBatchSize = Annotated[int | None, typer.Option(help="Data per training step of adam.", show_default="100")]
AdamLearningRate = Annotated[float | None, typer.Option(help="Learning rate of adam.", show_default="0.01")]
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
StepKind = Annotated[
    str,
    typer.Option(
        "--step",
        help="eager; captured, whose steps are recorded once and replayed; or compiled, which first takes some ten "
        "seconds for each scheme and pays from some ten thousand steps on. The numbers are the same.",
    ),
]
OnDistribution = Annotated[
    bool,
    typer.Option(
        "--on-distribution",
        help="Train on every pattern of a generated data set, weighted by its probability, not on samples.",
    ),
]


def layer_sizes(text: str, width: int) -> tuple[int, ...]:
    """Units per layer of ``32-24-2`` or ``24-2``, for data of so many units."""
    try:
        sizes = tuple(int(size) for size in text.split("-"))
    except ValueError:
        raise ValueError(f"--sizes must be units per layer such as 32-24-2, got {text!r}") from None
    return sizes if sizes[0] == width and len(sizes) > 1 else (width, *sizes)


def chosen_names(text: str, known: dict[str, Any]) -> list[str]:
    """Names separated by commas, or all of them; ValueError for an unknown one."""
    names = list(known) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        _named(name, known)
    return names


def new_scheme(name: str, particles: int) -> Any:
    """The scheme of this name, with so many particles if it samples; ValueError for an unknown one."""
    build: Callable[..., Any] = _named(name, helm.SCHEMES)
    return build(num_particles=particles) if helm.SCHEMES[name].samples else build()


def descent_settings(optimizer: str, batch_size: int | None, learning_rate: float | None) -> dict[str, Any]:
    """Settings of ``fit``; ValueError for a batch size or learning rate where the optimiser has no use for it."""
    full_batch = {"conjugate_gradient": helm.ConjugateGradient, "lbfgs": helm.LBFGS}
    chosen = _named(optimizer, {"adam": None, **full_batch})
    if chosen is None:
        return {
            "batch_size": 100 if batch_size is None else batch_size,
            "learning_rate": 0.01 if learning_rate is None else learning_rate,
        }
    if batch_size is not None:
        raise ValueError(f"--optimizer {optimizer} takes all data in every step and no --batch-size, got {batch_size}")
    if learning_rate is not None:
        raise ValueError(
            f"--optimizer {optimizer} finds its steps by line search and takes no --learning-rate, got {learning_rate}"
        )
    import torch  # late: --help would wait for it

    return {"batch_size": None, "optimizer": chosen, "dtype": torch.float64}


def _named(name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise ValueError(f"unknown name {name!r}; known are {', '.join(known)}")
    return known[name]
