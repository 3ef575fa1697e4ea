"""The public names, each with where it is defined."""

from .data.csv_files import read_table
from .data.read_tables import Table
from .data.sets import Data, PatternDistribution, available_data, load_data
from .experiments import plots
from .experiments.comparison import Comparison, compare
from .experiments.study import Study
from .experiments.study_report import report
from .experiments.summaries import summarise
from .guides import (
    AutoregressiveRecognition,
    FactorialRecognition,
    IterativeRecognition,
    LabelledRecognition,
    LateralRecognition,
    TemporalRecognition,
)
from .layers.distributions import NoisyOrBernoulli, OddsBernoulli
from .likelihoods import (
    Gap,
    Imputation,
    Posterior,
    Scores,
    codes,
    dreams,
    exact_posterior,
    impute,
    label_probabilities,
    log_likelihood,
    log_likelihood_gap,
    paired_differences,
    posterior_draws,
    posterior_predictive,
    reconstructions,
    weight_table,
)
from .models import BeliefNetwork, LabelledBeliefNetwork, TemporalBeliefNetwork
from .programs.pair import Programs
from .schemes import (
    NVIL,
    SCHEMES,
    TVO,
    VIMCO,
    DisARM,
    Estimate,
    ExactEM,
    ExactLayers,
    ExactMeanField,
    Gibbs,
    Intractable,
    JointStochasticApproximation,
    MeanField,
    MemoisedWakeSleep,
    Reinforce,
    Relaxed,
    ReweightedWakeSleep,
    Scheme,
    VariationalEM,
    WakeSleep,
)
from .training.callbacks import EpochState, JsonLines, TensorBoard
from .training.checkpoint import load, save
from .training.fitting import fit
from .training.full_batch import LBFGS, ConjugateGradient
from .training.result import Result
from .training.run import TrainingRun
from .training.schedules import SCHEDULES
from .training.settings import Settings
from .training.stages import Stage, fit_in_stages

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
    "EpochState",
    "Estimate",
    "ExactEM",
    "ExactLayers",
    "ExactMeanField",
    "FactorialRecognition",
    "Gap",
    "Gibbs",
    "Imputation",
    "Intractable",
    "IterativeRecognition",
    "JointStochasticApproximation",
    "JsonLines",
    "LabelledBeliefNetwork",
    "LabelledRecognition",
    "LateralRecognition",
    "MeanField",
    "MemoisedWakeSleep",
    "NoisyOrBernoulli",
    "OddsBernoulli",
    "PatternDistribution",
    "Posterior",
    "Programs",
    "Reinforce",
    "Relaxed",
    "Result",
    "ReweightedWakeSleep",
    "Scheme",
    "Scores",
    "Settings",
    "Stage",
    "Study",
    "Table",
    "TemporalBeliefNetwork",
    "TemporalRecognition",
    "TensorBoard",
    "TrainingRun",
    "VariationalEM",
    "WakeSleep",
    "available_data",
    "codes",
    "compare",
    "dreams",
    "exact_posterior",
    "fit",
    "fit_in_stages",
    "impute",
    "label_probabilities",
    "load",
    "load_data",
    "log_likelihood",
    "log_likelihood_gap",
    "paired_differences",
    "plots",
    "posterior_draws",
    "posterior_predictive",
    "read_table",
    "reconstructions",
    "report",
    "save",
    "summarise",
    "weight_table",
]
