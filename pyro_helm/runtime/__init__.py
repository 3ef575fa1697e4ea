"""What needs torch alone: devices, random numbers, captured graphs, files and tables, checks of settings."""
