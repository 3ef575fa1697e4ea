"""Figures, each a :class:`matplotlib.figure.Figure` made without pyplot and its global state."""

from pyro_helm.experiments.plots.curves import learning_curves
from pyro_helm.experiments.plots.dreams import dream_sheet
from pyro_helm.experiments.plots.pages import save_figure
from pyro_helm.experiments.plots.weights import weight_diagram

__all__ = ["dream_sheet", "learning_curves", "save_figure", "weight_diagram"]
