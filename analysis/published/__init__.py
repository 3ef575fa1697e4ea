"""Trainings of the data sets that papers report, as study files, beside the published numbers."""
