"""The machine: its processes, files, sandboxes, and the programs of other architectures that it runs."""
