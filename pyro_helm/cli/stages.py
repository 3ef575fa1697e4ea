"""``fit`` in stages: options that begin layer by layer, or with another scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

import pyro_helm as helm
from pyro_helm.cli.completion import scheme_names
from pyro_helm.cli.values import checked_learning_rate, new_scheme

if TYPE_CHECKING:
    from pyro_helm.schemes import Scheme  # late: --help would wait for torch
    from pyro_helm.training.result import Result
    from pyro_helm.training.stages import Stage

LayerByLayer = Annotated[
    int | None,
    typer.Option(
        metavar="EPOCHS",
        min=1,
        help="First train the lowest two layers for so many epochs, then the lowest three, and so on. Then train all "
        "layers for --epochs.",
    ),
]
FirstScheme = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Inference scheme of the stages before the last: those of --layer-by-layer and --first-epochs.",
        show_default="that of --scheme",
        autocompletion=scheme_names,
    ),
]
FirstEpochs = Annotated[
    int | None,
    typer.Option(metavar="NUMBER", min=1, help="Epochs of --first-scheme with all layers.", show_default="none"),
]
FirstLearningRate = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="Learning rate of the stages before the last, which is constant.",
        show_default="that of --learning-rate",
    ),
]


def first_stages(
    sizes: tuple[int, ...] | None,
    scheme: Scheme,
    particles: int,
    layer_by_layer: int | None,
    name: str | None,
    epochs: int | None,
    learning_rate: float | None,
) -> list[Stage]:
    """What goes before the training that the other options ask for; ValueError for options without use."""
    if epochs is not None and name is None:
        raise ValueError("--first-epochs are those of --first-scheme, which is not given")
    if layer_by_layer is None and epochs is None and (name, learning_rate) != (None, None):
        raise ValueError("--first-scheme and --first-rate need --layer-by-layer or --first-epochs")
    layers = 0 if sizes is None else len(sizes)
    if layer_by_layer is not None and layers < 3:
        raise ValueError("--layer-by-layer needs two hidden layers or more, such as --sizes 24-2")
    first = scheme if name is None else new_scheme(name, particles)
    rate = None if learning_rate is None else checked_learning_rate(learning_rate)
    depths = [] if layer_by_layer is None else range(2, layers)
    stages = [helm.Stage(first, layer_by_layer or 1, layers=depth, learning_rate=rate) for depth in depths]
    return stages + ([] if epochs is None else [helm.Stage(first, epochs, learning_rate=rate)])


def train(
    model: Any, guide: Any, data: Any, *, scheme: Scheme, num_epochs: int, schedule: str | None, step: str | None,
    first: list[Stage], **settings: Any,
) -> Result:  # fmt: skip
    """A training, in stages if some go first; a schedule and a kind of step are the last one's."""
    last: dict[str, Any] = {"num_epochs": num_epochs, "schedule": schedule, "step": step}
    if not first:
        return helm.fit(model, guide, data, scheme=scheme, **last, **settings)
    stages = [*first, helm.Stage(scheme, **last)]
    return helm.fit_in_stages(model, guide, data, stages=stages, **settings)
