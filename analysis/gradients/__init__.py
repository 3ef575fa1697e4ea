"""How noisy, how biased and how costly the gradient of every scheme is: ``python -m analysis.gradients.measure``."""
