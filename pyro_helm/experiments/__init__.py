"""Many trainings: compared, tabulated and drawn."""

import lazy_loader

# `helm.plots` is here, but a comparison without figures does not wait for matplotlib
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["plots"])
