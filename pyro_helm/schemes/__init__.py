"""Inference schemes, one file each, and their registry."""

from pyro_helm.schemes.reinforce import Reinforce
from pyro_helm.schemes.reweighted_wake_sleep import ReweightedWakeSleep
from pyro_helm.schemes.scheme import Scheme
from pyro_helm.schemes.wake_sleep import WakeSleep

SCHEMES: dict[str, type[Scheme]] = {scheme.name: scheme for scheme in (Reinforce, WakeSleep, ReweightedWakeSleep)}
"""Inference schemes by the name that the command line and the tables use."""

__all__ = ["SCHEMES", "Reinforce", "ReweightedWakeSleep", "Scheme", "WakeSleep"]
