"""Many trainings: compared, tabulated and drawn."""
