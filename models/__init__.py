"""Generative models: Pyro programs that dream and can be conditioned."""

from torch import nn

from pyro_helm.models.belief_network import BeliefNetwork
from pyro_helm.models.labelled_belief_network import LabelledBeliefNetwork
from pyro_helm.models.temporal_belief_network import TemporalBeliefNetwork

MODELS: dict[str, type[nn.Module]] = {
    "belief_network": BeliefNetwork,
    "labelled_belief_network": LabelledBeliefNetwork,
    "temporal_belief_network": TemporalBeliefNetwork,
}
"""Models by the name that the command line and studies use."""

__all__ = ["MODELS", "BeliefNetwork", "LabelledBeliefNetwork", "TemporalBeliefNetwork"]
