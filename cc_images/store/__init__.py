"""The store: the folder that holds builds, layers and the records of all runs."""
