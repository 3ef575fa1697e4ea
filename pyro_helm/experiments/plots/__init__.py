"""Figures, each a :class:`matplotlib.figure.Figure` made without pyplot and its global state."""

from pyro_helm.experiments.plots.codes import code_map
from pyro_helm.experiments.plots.curves import learning_curves
from pyro_helm.experiments.plots.dreams import dream_sheet
from pyro_helm.experiments.plots.pages import save_figure
from pyro_helm.experiments.plots.posteriors import posterior_chart
from pyro_helm.experiments.plots.reconstructions import reconstruction_sheet
from pyro_helm.experiments.plots.sandwich import bound_sandwich
from pyro_helm.experiments.plots.sensitivity import setting_sensitivity
from pyro_helm.experiments.plots.weights import weight_diagram
from pyro_helm.training.curves import training_curves

__all__ = [
    "bound_sandwich",
    "code_map",
    "dream_sheet",
    "learning_curves",
    "posterior_chart",
    "reconstruction_sheet",
    "save_figure",
    "setting_sensitivity",
    "training_curves",
    "weight_diagram",
]
