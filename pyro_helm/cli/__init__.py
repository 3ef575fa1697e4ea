"""The command line ``pyro-helm``."""
