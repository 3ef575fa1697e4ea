"""Generative models: Pyro programs that dream and can be conditioned."""

from pyro_helm.models.belief_network import BeliefNetwork

__all__ = ["BeliefNetwork"]
