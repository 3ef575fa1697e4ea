"""Data sets: by name or from files, split, checked, and as distributions over patterns."""
