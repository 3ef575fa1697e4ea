"""Reconstructions: data, what recognition holds them for, and a dream from it."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_helm.data.named_observations import DataLike
from pyro_helm.experiments.plots.dreams import dream_sheet
from pyro_helm.experiments.plots.recognition_means import recognised
from pyro_helm.programs.particles import Program


def reconstruction_sheet(
    model: Program,
    guide: Program,
    data: DataLike,
    *,
    image_shape: tuple[int, int],
    restart: int = 0,
    num_draws: int = 100,
    seed: int = 0,
    columns: int = 10,
    ax: Axes | None = None,
) -> Figure:
    """Draw cases, the mean picture given recognition, and one dream from it, in three blocks of the same order.

    The mean picture is ``E[p(x | h)]`` over draws of ``q(h | x)``, in shades of grey; the dream is one ``x ~ p(x | h)``
    for one ``h ~ q(h | x)``, and shows what a mean hides.

    Args:
        model: any Pyro model of an observed site ``x``.
        guide: its guide.
        data: as for :func:`log_likelihood`, a tensor, array or DataFrame say.
        image_shape: rows and columns of the image that the units make.
        restart: which restart.
        num_draws: draws of recognition per case.
        seed: of the draws.
        columns: images per row.
        ax: where to draw; None for a figure of its own.

    Raises:
        ValueError: for a restart that there is not, or an image of another size than the data.

    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> figure = reconstruction_sheet(model, guide, load_data("bars").test[:10], image_shape=(4, 4))
    """
    found = recognised(model, guide, data, restart=restart, num_draws=num_draws, seed=seed)
    groups = {
        "data": found.data,
        "mean picture, given what recognition makes of the datum": found.mean,
        "a dream from one draw of recognition": found.dream,
    }
    return dream_sheet(groups, image_shape=image_shape, columns=columns, ax=ax)
