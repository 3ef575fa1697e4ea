"""Recognition guides: Pyro programs that propose the hidden causes of data."""

from pyro_helm.guides.autoregressive_recognition import AutoregressiveRecognition
from pyro_helm.guides.factorial_recognition import FactorialRecognition
from pyro_helm.guides.iterative_recognition import IterativeRecognition
from pyro_helm.guides.labelled_recognition import LabelledRecognition
from pyro_helm.guides.lateral_recognition import LateralRecognition

__all__ = [
    "AutoregressiveRecognition",
    "FactorialRecognition",
    "IterativeRecognition",
    "LabelledRecognition",
    "LateralRecognition",
]
