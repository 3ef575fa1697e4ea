"""Helmholtz machines and discrete latent-variable models in Pyro.

The public names are listed in ``__init__.pyi``. Each is imported when it is first used, so that importing this package,
or asking its command line for help, does not wait for all that they need.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
