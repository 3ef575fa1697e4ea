"""Recognition guides: Pyro programs that propose the hidden causes of data."""

from torch import nn

from pyro_helm.guides.autoregressive_recognition import AutoregressiveRecognition
from pyro_helm.guides.factorial_recognition import FactorialRecognition
from pyro_helm.guides.iterative_recognition import IterativeRecognition
from pyro_helm.guides.labelled_recognition import LabelledRecognition
from pyro_helm.guides.lateral_recognition import LateralRecognition
from pyro_helm.guides.temporal_recognition import TemporalRecognition

GUIDES: dict[str, type[nn.Module]] = {
    "factorial_recognition": FactorialRecognition,
    "autoregressive_recognition": AutoregressiveRecognition,
    "lateral_recognition": LateralRecognition,
    "iterative_recognition": IterativeRecognition,
    "labelled_recognition": LabelledRecognition,
    "temporal_recognition": TemporalRecognition,
}
"""Guides by the name that the command line and studies use."""

__all__ = [
    "GUIDES",
    "AutoregressiveRecognition",
    "FactorialRecognition",
    "IterativeRecognition",
    "LabelledRecognition",
    "LateralRecognition",
    "TemporalRecognition",
]
