"""Products over causes, without a tensor of data x causes x units."""

from pyro_helm.kernels.product import Product, product_of_complements
from pyro_helm.kernels.turns import product_of_turns

__all__ = ["Product", "product_of_complements", "product_of_turns"]
