"""Inference schemes, one file each, and their registry."""

from pyro_helm.schemes.base import Estimate, Intractable, Scheme
from pyro_helm.schemes.disarm import DisARM
from pyro_helm.schemes.exact_em import ExactEM
from pyro_helm.schemes.exact_layers import ExactLayers
from pyro_helm.schemes.exact_mean_field import ExactMeanField
from pyro_helm.schemes.gibbs import Gibbs
from pyro_helm.schemes.joint_stochastic_approximation import JointStochasticApproximation
from pyro_helm.schemes.mean_field import MeanField
from pyro_helm.schemes.memoised_wake_sleep import MemoisedWakeSleep
from pyro_helm.schemes.nvil import NVIL
from pyro_helm.schemes.reinforce import Reinforce
from pyro_helm.schemes.relaxed import Relaxed
from pyro_helm.schemes.reweighted_wake_sleep import ReweightedWakeSleep
from pyro_helm.schemes.tvo import TVO
from pyro_helm.schemes.variational_em import VariationalEM
from pyro_helm.schemes.vimco import VIMCO
from pyro_helm.schemes.wake_sleep import WakeSleep

SCHEMES: dict[str, type[Scheme]] = {
    "reinforce": Reinforce,
    "nvil": NVIL,
    "disarm": DisARM,
    "exact_layers": ExactLayers,
    "vimco": VIMCO,
    "tvo": TVO,
    "wake_sleep": WakeSleep,
    "reweighted_wake_sleep": ReweightedWakeSleep,
    "memoised_wake_sleep": MemoisedWakeSleep,
    "joint_stochastic_approximation": JointStochasticApproximation,
    "gibbs": Gibbs,
    "exact_em": ExactEM,
    "variational_em": VariationalEM,
    "mean_field": MeanField,
    "exact_mean_field": ExactMeanField,
    "relaxed": Relaxed,
}
"""Inference schemes by the name that the command line and the tables use."""

__all__ = [
    "NVIL",
    "SCHEMES",
    "TVO",
    "VIMCO",
    "DisARM",
    "Estimate",
    "ExactEM",
    "ExactLayers",
    "ExactMeanField",
    "Gibbs",
    "Intractable",
    "JointStochasticApproximation",
    "MeanField",
    "MemoisedWakeSleep",
    "Reinforce",
    "Relaxed",
    "ReweightedWakeSleep",
    "Scheme",
    "VariationalEM",
    "WakeSleep",
]
