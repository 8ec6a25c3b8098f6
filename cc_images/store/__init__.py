"""The folder that holds builds, layers and the books of all runs."""
