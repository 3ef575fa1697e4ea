"""Training one machine: the loop, its steps, restarts, optimisers, files and progress."""
