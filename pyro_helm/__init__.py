"""Helmholtz machines and discrete latent-variable models in Pyro."""

from pyro_helm.checkpoint import load, save
from pyro_helm.comparison import Comparison, compare, summarise
from pyro_helm.data import Data, Distribution, available_data, load_data
from pyro_helm.distributions import NoisyOrBernoulli, OddsBernoulli
from pyro_helm.full_batch import LBFGS, ConjugateGradient
from pyro_helm.likelihoods import (
    Gap,
    Posterior,
    Scores,
    exact_posterior,
    log_likelihood,
    log_likelihood_gap,
    paired_differences,
)
from pyro_helm.schemes import (
    NVIL,
    SCHEMES,
    TVO,
    VIMCO,
    DisARM,
    ExactEM,
    ExactMeanField,
    Gibbs,
    Intractable,
    MeanField,
    Reinforce,
    Relaxed,
    ReweightedWakeSleep,
    Scheme,
    WakeSleep,
)
from pyro_helm.training import Result, fit

__all__ = [
    "LBFGS",
    "NVIL",
    "SCHEMES",
    "TVO",
    "VIMCO",
    "Comparison",
    "ConjugateGradient",
    "Data",
    "DisARM",
    "Distribution",
    "ExactEM",
    "ExactMeanField",
    "Gap",
    "Gibbs",
    "Intractable",
    "MeanField",
    "NoisyOrBernoulli",
    "OddsBernoulli",
    "Posterior",
    "Reinforce",
    "Relaxed",
    "Result",
    "ReweightedWakeSleep",
    "Scheme",
    "Scores",
    "WakeSleep",
    "available_data",
    "compare",
    "exact_posterior",
    "fit",
    "load",
    "load_data",
    "log_likelihood",
    "log_likelihood_gap",
    "paired_differences",
    "save",
    "summarise",
]
