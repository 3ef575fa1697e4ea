"""Scripts that compare schemes and make every figure and table of the docs."""
