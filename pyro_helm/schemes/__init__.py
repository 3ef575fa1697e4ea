"""Inference schemes, one file each, and their registry."""

from pyro_helm.schemes.exact_mean_field import ExactMeanField
from pyro_helm.schemes.mean_field import MeanField
from pyro_helm.schemes.reinforce import Reinforce
from pyro_helm.schemes.reweighted_wake_sleep import ReweightedWakeSleep
from pyro_helm.schemes.scheme import Scheme
from pyro_helm.schemes.vimco import VIMCO
from pyro_helm.schemes.wake_sleep import WakeSleep

SCHEMES: dict[str, type[Scheme]] = {
    "reinforce": Reinforce,
    "wake_sleep": WakeSleep,
    "reweighted_wake_sleep": ReweightedWakeSleep,
    "vimco": VIMCO,
    "mean_field": MeanField,
    "exact_mean_field": ExactMeanField,
}
"""Inference schemes by the name that the command line and the tables use."""

__all__ = ["SCHEMES", "VIMCO", "ExactMeanField", "MeanField", "Reinforce", "ReweightedWakeSleep", "Scheme", "WakeSleep"]
