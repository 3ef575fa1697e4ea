"""Every claim of speed, measured."""
