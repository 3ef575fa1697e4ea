"""Inference schemes, one file each, and their registry."""

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
}
"""Inference schemes by the name that the command line and the tables use."""

__all__ = ["SCHEMES", "VIMCO", "Reinforce", "ReweightedWakeSleep", "Scheme", "WakeSleep"]
