"""Log-likelihoods, one file per method, and the frames they come in."""

from pyro_helm.likelihoods.classification import label_probabilities
from pyro_helm.likelihoods.gap import Gap, log_likelihood_gap
from pyro_helm.likelihoods.imputation import Imputation, impute
from pyro_helm.likelihoods.machine_tables import (
    codes,
    posterior_draws,
    posterior_predictive,
    reconstructions,
)
from pyro_helm.likelihoods.model_tables import dreams, weight_table
from pyro_helm.likelihoods.paired import paired_differences
from pyro_helm.likelihoods.posterior import Posterior, exact_posterior
from pyro_helm.likelihoods.proposals import mean_field, mixed_with_prior, prior, tempered
from pyro_helm.likelihoods.scores import METHODS, Scores, log_likelihood

__all__ = [
    "METHODS",
    "Gap",
    "Imputation",
    "Posterior",
    "Scores",
    "codes",
    "dreams",
    "exact_posterior",
    "impute",
    "label_probabilities",
    "log_likelihood",
    "log_likelihood_gap",
    "mean_field",
    "mixed_with_prior",
    "paired_differences",
    "posterior_draws",
    "posterior_predictive",
    "prior",
    "reconstructions",
    "tempered",
    "weight_table",
]
