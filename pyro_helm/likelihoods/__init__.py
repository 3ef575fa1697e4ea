"""Log-likelihoods, one file per method, and the frames they come in."""

from pyro_helm.likelihoods.scores import METHODS, Scores, log_likelihood

__all__ = ["METHODS", "Scores", "log_likelihood"]
