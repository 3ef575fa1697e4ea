"""The public names, each with where it is defined."""

from .data.sets import Data, PatternDistribution, available_data, load_data
from .experiments import plots
from .experiments.comparison import Comparison, compare
from .experiments.study import Study
from .experiments.study_report import report
from .experiments.summaries import summarise
from .guides import AutoregressiveRecognition, FactorialRecognition
from .layers.distributions import NoisyOrBernoulli, OddsBernoulli
from .likelihoods import (
    Gap,
    Imputation,
    Posterior,
    Scores,
    exact_posterior,
    impute,
    log_likelihood,
    log_likelihood_gap,
    paired_differences,
)
from .models import BeliefNetwork
from .schemes import (
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
from .training.checkpoint import load, save
from .training.fitting import fit
from .training.full_batch import LBFGS, ConjugateGradient
from .training.result import Result
from .training.run import TrainingRun
from .training.schedules import SCHEDULES
from .training.settings import Settings

__all__ = [
    "LBFGS",
    "NVIL",
    "SCHEDULES",
    "SCHEMES",
    "TVO",
    "VIMCO",
    "AutoregressiveRecognition",
    "BeliefNetwork",
    "Comparison",
    "ConjugateGradient",
    "Data",
    "DisARM",
    "ExactEM",
    "ExactMeanField",
    "FactorialRecognition",
    "Gap",
    "Gibbs",
    "Imputation",
    "Intractable",
    "MeanField",
    "NoisyOrBernoulli",
    "OddsBernoulli",
    "PatternDistribution",
    "Posterior",
    "Reinforce",
    "Relaxed",
    "Result",
    "ReweightedWakeSleep",
    "Scheme",
    "Scores",
    "Settings",
    "Study",
    "TrainingRun",
    "WakeSleep",
    "available_data",
    "compare",
    "exact_posterior",
    "fit",
    "impute",
    "load",
    "load_data",
    "log_likelihood",
    "log_likelihood_gap",
    "paired_differences",
    "plots",
    "report",
    "save",
    "summarise",
]
