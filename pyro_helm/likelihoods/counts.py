"""Settings that count something: samples, chains, dreams, steps, terms."""

from pyro_helm.arguments import at_least_one, is_whole

__all__ = ["at_least_one", "is_whole"]
