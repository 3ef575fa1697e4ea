"""Generative models: Pyro programs that dream and can be conditioned."""

from pyro_helm.models.belief_network import BeliefNetwork
from pyro_helm.models.labelled_belief_network import LabelledBeliefNetwork

__all__ = ["BeliefNetwork", "LabelledBeliefNetwork"]
