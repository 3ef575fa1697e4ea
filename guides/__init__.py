"""Recognition guides: Pyro programs that propose the hidden causes of data."""

from torch import nn

from pyro_helm.guides.autoregressive_recognition import AutoregressiveRecognition
from pyro_helm.guides.factorial_recognition import FactorialRecognition
from pyro_helm.guides.lateral_recognition import LateralRecognition

GUIDES: dict[str, type[nn.Module]] = {
    "factorial_recognition": FactorialRecognition,
    "autoregressive_recognition": AutoregressiveRecognition,
    "lateral_recognition": LateralRecognition,
}
"""Guides by the name that the command line and studies use."""

__all__ = ["GUIDES", "AutoregressiveRecognition", "FactorialRecognition", "LateralRecognition"]
