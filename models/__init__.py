"""Generative models: Pyro programs that dream and can be conditioned."""

from torch import nn

from pyro_helm.models.belief_network import BeliefNetwork

MODELS: dict[str, type[nn.Module]] = {
    "belief_network": BeliefNetwork,
}
"""Models by the name that the command line and studies use."""

__all__ = ["MODELS", "BeliefNetwork"]
